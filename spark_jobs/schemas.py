"""The Parquet contracts between the jobs and with the DAG: column names, order and types."""

import pyarrow as pa

FEATURE_COUNT = 1280

_IMAGE = [("path", pa.string()), ("label", pa.string()), ("etag", pa.string()), ("size", pa.int64())]

INVENTORY = pa.schema([*_IMAGE, ("last_modified", pa.timestamp("us", tz="UTC"))])
MANIFEST = INVENTORY
FEATURES = pa.schema(
    [
        *_IMAGE,
        ("model_id", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("features", pa.list_(pa.field("element", pa.float32()))),
    ]
)
REJECTS = pa.schema([*_IMAGE, ("reason", pa.string()), ("detail", pa.string())])
PCA = pa.schema(
    [("path", pa.string()), ("label", pa.string()), ("features_pca", pa.list_(pa.field("element", pa.float32())))]
)
