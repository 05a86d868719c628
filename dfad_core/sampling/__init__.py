"""Where the student's batches come from: fresh ones, the pool, and virtual mixtures."""

from dfad_core.sampling.batch import Batch
from dfad_core.sampling.pool import Pool
from dfad_core.sampling.streams import Streams

__all__ = ["Batch", "Pool", "Streams"]
