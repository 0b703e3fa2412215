"""SASS post-processing: cubin bytes in, cubin bytes with other control bits out.

`policy.apply` patches, `verify.verify` proves the patch harmless relative to the published model of the pipeline,
`report` shows it.
"""

PATCHER_VERSION = 2
"""Part of every cache key: raised whenever the same policy name may give other bytes."""
