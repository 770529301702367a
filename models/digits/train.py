"""Train a small Vision Transformer on scikit-learn's handwritten digits.

The model is a plain ``torchvision.models.VisionTransformer`` of less than 1 MB: large enough to recognise
digits, small enough to keep beside the code. The script writes three things into the output folder:

* ``digits_vit.safetensors``, the weights in fp32 under torchvision's own parameter names;
* ``labels.txt``, the class names, one a line, in the order of the model's outputs;
* ``samples/*.png``, three pictures that the model has not seen in training, named after their digit.

Every picture, in training and in the measurement alike, is rendered to the same kind of picture as the
samples and goes through ``ImageClassification``, torchvision's preprocessing for its classification models,
which is also what a user of the exported model gets.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import load_file, save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's own convention)
from torchvision.models import VisionTransformer
from torchvision.transforms._presets import ImageClassification

CHECKPOINT_NAME = "digits_vit.safetensors"
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAMPLE_DIGITS = (0, 2, 6)

PICTURE_SIZE = 128  # the side of a rendered picture
MAX_INK = 16  # the data set counts the ink of a pixel from 0 to 16
HELD_OUT_SHARE = 0.2
SPLIT_SEED = 0  # not --seed: whatever the training does, the held-out pictures stay the same

BATCH_SIZE = 64
EVALUATION_BATCH_SIZE = 256
PEAK_LEARNING_RATE = 3e-3
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.02
GRADIENT_NORM = 1.0

MAX_ROTATION = math.radians(10)
MAX_SCALING = 0.1
MAX_SHIFT = 1 / 16  # of the side; half a pixel of the data set


@dataclass(frozen=True)
class Architecture:
    """The arguments of ``VisionTransformer`` that fix the model's shape."""

    image_size: int = 32
    patch_size: int = 8
    num_layers: int = 3
    num_heads: int = 1
    hidden_dim: int = 64
    mlp_dim: int = 128
    num_classes: int = len(LABELS)

    def build(self) -> VisionTransformer:
        """Build the model with fresh weights."""
        return VisionTransformer(**asdict(self))


ARCHITECTURE = Architecture()
PREPROCESS = ImageClassification(crop_size=ARCHITECTURE.image_size, resize_size=ARCHITECTURE.image_size)


@dataclass(frozen=True)
class Examples:
    """Rendered pictures and their true digits."""

    pictures: list[Image.Image]
    digits: Tensor

    def inputs(self) -> Tensor:
        """Preprocess the pictures into one batch of model inputs."""
        return torch.stack([PREPROCESS(picture) for picture in self.pictures])

    def first(self, digit: int) -> Image.Image:
        """Return the first picture that shows the digit."""
        return self.pictures[self.digits.tolist().index(digit)]


def render(ink: npt.NDArray[np.float64]) -> Image.Image:
    """Turn the 8x8 ink counts of a digit into a picture, white on black."""
    grey = np.rint(ink * (255 / MAX_INK)).astype(np.uint8)
    size = (PICTURE_SIZE, PICTURE_SIZE)
    return Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")


def load_examples() -> tuple[Examples, Examples]:
    """Load the data set as a training part and a held-out part, each in the order of the data set."""
    data = load_digits()
    parts = train_test_split(
        np.arange(len(data.target)), test_size=HELD_OUT_SHARE, random_state=SPLIT_SEED, stratify=data.target
    )
    training, held_out = (
        Examples([render(data.images[i]) for i in indices], torch.from_numpy(data.target[indices]).long())
        for indices in map(np.sort, parts)
    )
    return training, held_out


def random_transforms(count: int, generator: torch.Generator) -> Tensor:
    """Draw one slight rotation, scaling, and shift a picture, as matrices for ``affine_grid``."""

    def draw(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, scale = draw(MAX_ROTATION), 1 + draw(MAX_SCALING)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    # The grid's coordinates run from -1 to 1, so that a side is 2 long.
    rows = [torch.stack([cos, -sin, draw(2 * MAX_SHIFT)]), torch.stack([sin, cos, draw(2 * MAX_SHIFT)])]
    return torch.stack(rows).permute(2, 0, 1)


def augment(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, scale, and shift every preprocessed picture a little, filling up with black."""
    mean, std = torch.tensor(PREPROCESS.mean), torch.tensor(PREPROCESS.std)
    black = (-mean / std).view(1, -1, 1, 1)
    grid = F.affine_grid(random_transforms(len(inputs), generator), list(inputs.shape), align_corners=False)
    return F.grid_sample(inputs - black, grid, align_corners=False) + black


def learning_rate_factor(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: a linear warm-up, then half a cosine."""
    warmup = max(1, round(steps * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(inputs: Tensor, digits: Tensor, epochs: int, seed: int) -> VisionTransformer:
    """Train a fresh model for a fixed number of epochs and return it as the last one leaves it."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = ARCHITECTURE.build().train()
    steps = epochs * math.ceil(len(inputs) / BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in torch.split(torch.randperm(len(inputs), generator=generator), BATCH_SIZE):
            logits = model(augment(inputs[batch], generator))
            loss = F.cross_entropy(logits, digits[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if epoch % 10 == 0 or epoch == epochs:
            print(f"epoch {epoch:3d}/{epochs}: training loss {total / len(inputs):.4f}", flush=True)
    return model.eval()


@torch.inference_mode()
def predict(model: VisionTransformer, inputs: Tensor) -> Tensor:
    """Return the model's probabilities, one row a picture."""
    return torch.cat([model(batch).softmax(dim=1) for batch in torch.split(inputs, EVALUATION_BATCH_SIZE)])


def load_checkpoint(path: Path) -> VisionTransformer:
    """Load the written weights into a fresh model, which fails unless every name and shape fits."""
    model = ARCHITECTURE.build()
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


def write_samples(held_out: Examples, folder: Path) -> list[Path]:
    """Write the first held-out picture of each sample digit, whether the model knows it or not."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{LABELS[digit]}.png" for digit in SAMPLE_DIGITS]
    for path, digit in zip(paths, SAMPLE_DIGITS, strict=True):
        held_out.first(digit).save(path, optimize=True)
    return paths


def report_accuracy(model: VisionTransformer, examples: Examples, part: str) -> None:
    """Print how many pictures of a part of the data set the model recognises."""
    guesses = predict(model, examples.inputs()).argmax(dim=1)
    right, count = int((guesses == examples.digits).sum()), len(examples.digits)
    print(f"accuracy on the {part} pictures: {right / count:.2%} ({right} of {count})")


def report_samples(model: VisionTransformer, paths: list[Path]) -> None:
    """Print what the model makes of the sample files."""
    for path in paths:
        with Image.open(path) as picture:
            probabilities = predict(model, PREPROCESS(picture).unsqueeze(0))[0]
        guess = LABELS[int(probabilities.argmax())]
        verdict = "right" if guess == path.stem else "wrong"
        print(f"samples/{path.name}: {guess} with probability {probabilities.max():.4f}, {verdict}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Train a small Vision Transformer on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=120, help="passes over the data (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and training (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parent,
        metavar="DIR",
        help="folder to write to (default: the folder of this script)",
    )
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error("--epochs must be at least 1")
    return arguments


def main() -> None:
    """Train the model, write the files, and measure the model as it was written."""
    arguments = parse_arguments()
    torch.set_num_threads(1)  # the order of summation, and so the weights, depend on it
    torch.use_deterministic_algorithms(mode=True)
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)

    training, held_out = load_examples()
    print(f"{len(training.digits)} pictures to train on, {len(held_out.digits)} held out")
    start = time.perf_counter()
    model = train(training.inputs(), training.digits, arguments.epochs, arguments.seed)
    print(f"trained in {time.perf_counter() - start:.0f} s")

    checkpoint = output / CHECKPOINT_NAME
    checkpoint.write_bytes(save(model.state_dict()))  # save_file would keep it from other users
    (output / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    samples = write_samples(held_out, output / "samples")

    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{checkpoint.name}: {parameters:,} parameters, {checkpoint.stat().st_size:,} bytes")
    written = load_checkpoint(checkpoint)
    report_accuracy(written, training, "training")
    report_accuracy(written, held_out, "held-out")
    report_samples(written, samples)


if __name__ == "__main__":
    main()
