"""The flow of the original notebook, written down faithfully: python -m benchmarks.seed IMAGES WEIGHTS OUTPUT.

Spark's binaryFile, a pandas UDF with Keras `predict`, features left lazy (so every action runs the network again),
StandardScaler, PCA with all 1280 components to see how many are needed, PCA again with as many, Parquet.
"""

import io
import sys

import numpy as np
import pandas as pd
from PIL import Image
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, element_at, split
from pyspark.sql.pandas.functions import PandasUDFType, pandas_udf


def main(images: str, weights: str, output: str, variance: float = 0.8) -> None:
    from tensorflow.keras import Model
    from tensorflow.keras.applications.mobilenet_v2 import MobileNetV2, preprocess_input
    from tensorflow.keras.preprocessing.image import img_to_array

    spark = SparkSession.builder.appName("P8").config("spark.sql.parquet.writeLegacyFormat", "true").getOrCreate()

    def network() -> Model:
        return MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))

    model = network()
    model.load_weights(weights)
    broadcast_weights = spark.sparkContext.broadcast(model.get_weights())

    def model_fn() -> Model:
        model = network()
        for layer in model.layers:
            layer.trainable = False
        model.set_weights(broadcast_weights.value)
        return model

    def preprocess(content: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(content)).resize([224, 224])
        return preprocess_input(img_to_array(image))

    def featurize_series(model: Model, content_series: pd.Series) -> pd.Series:
        batch = np.stack(content_series.map(preprocess))
        return pd.Series([features.flatten() for features in model.predict(batch)])

    @pandas_udf("array<float>", PandasUDFType.SCALAR_ITER)
    def featurize_udf(batches):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - pyspark reads annotations
        model = model_fn()
        for batch in batches:
            yield featurize_series(model, batch)

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "1024")
    files = spark.read.format("binaryFile").option("pathGlobFilter", "*.jpg").option("recursiveFileLookup", "true")
    frame = files.load(images).withColumn("label", element_at(split(col("path"), "/"), -2))
    features = frame.repartition(20).select(col("path"), col("label"), featurize_udf("content").alias("features"))

    vectors = features.withColumn("vectors", array_to_vector(col("features")))
    scaler = StandardScaler(inputCol="vectors", outputCol="scaled", withStd=True, withMean=True).fit(vectors)
    scaled = scaler.transform(vectors)
    every = PCA(k=1280, inputCol="scaled", outputCol="pca").fit(scaled)
    k = int(np.argmax(np.cumsum(every.explainedVariance.toArray()) >= variance)) + 1
    reduced = PCA(k=k, inputCol="scaled", outputCol="pca").fit(scaled).transform(scaled)
    reduced.select("path", "label", vector_to_array(col("pca")).alias("features_pca")).write.mode("overwrite").parquet(
        output
    )
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
