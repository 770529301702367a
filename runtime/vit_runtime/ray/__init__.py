"""Answers for Ray Data's `map_batches`: a column of pictures in, columns of answers out.

>>> from vit_runtime.ray import Predictor
>>> pictures.map_batches(Predictor, fn_constructor_args=("deit.onnx",), batch_format="pyarrow")  # doctest: +SKIP

Nothing here imports Ray: a `Predictor` can be called with any batch, by any program that has pyarrow.
"""

from vit_runtime.ray.predictor import Predictor

__all__ = ["Predictor"]
