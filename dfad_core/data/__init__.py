"""Batches of synthetic images, the pool of past batches and the random streams."""

from dfad_core.data.batch import Batch
from dfad_core.data.pool import Pool, PoolImages
from dfad_core.data.random_streams import Streams

__all__ = ["Batch", "Pool", "PoolImages", "Streams"]
