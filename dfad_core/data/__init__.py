"""Where the student's batches come from: fresh ones, the pool, and virtual mixtures."""

from dfad_core.data.batch import Batch
from dfad_core.data.pool import Pool, PoolImages
from dfad_core.data.random_streams import Streams

__all__ = ["Batch", "Pool", "PoolImages", "Streams"]
