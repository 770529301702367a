"""The sentences that a text tower is verified with: several lengths, alphabets and ways to write the same."""

from __future__ import annotations

from typing import Final

SELF_TEST: Final = "A photo of a red car, parked beside two small dogs in the snow."
"""The sentence whose tokens and embedding the artifact stores."""
SENTENCES: Final = (
    SELF_TEST,
    "cat",
    "a photo of a Gate, Open!",
    "parcel in front of the door at night, seen from above; black-and-white camera picture",
    "  two   spaces\tand a tab\nand a line  ",
    "it's 23:59 on 2024-12-31, -7.5 °C & 1013 hPa (50%)",
    "ein grüner Baum vor dem Haus, Straße und Äpfel",
    "une forêt en hiver, où vole encore des oiseaux",
    "красная машина на улице",
    "ένα κόκκινο αυτοκίνητο",
    "سيارة حمراء في الشارع",
    "מכונית אדומה ברחוב",
    "सड़क पर लाल कार",
    "街上的红色汽车",
    "通りの赤い車と二匹の犬",
    "거리의 빨간 자동차",
    "🚗🐕🐕 ❄️",
    " ".join(["a very long description of a street with many cars, trees and people"] * 12),
)
