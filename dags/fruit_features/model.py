"""Which network a run uses, and whether it is in S3 already."""

import hashlib

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from fruit_features import objects
from fruit_features.layout import Location
from fruit_features.run import Run
from fruit_features.settings import IMAGENET

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

# A packed model ends as a ZIP archive does: with this, and 18 bytes more.
END_OF_ZIP, END_OF_ZIP_BYTES = b"PK\x05\x06", 22

# What the exporter on the cluster calls its models; export_model fails if its own values differ.
NETWORK, INPUT_SIZE, EXPORTER = "mobilenetv2", 224, "v1"


def model_id(hook: S3Hook, run: Run) -> str | None:
    """Return the model_id that `export_model` gives the run's weights, or None before Keras's own were ever exported.

    Raises:
        AirflowFailException: naming the weights file that is missing, closed or not HDF5.
    """
    if run.settings.weights == IMAGENET:
        pointer = run.layout.models / f"{IMAGENET}-{INPUT_SIZE}-{EXPORTER}.json"
        return objects.read_json(hook, pointer, "model_id")["model_id"] if objects.exists(hook, pointer) else None
    return weights_model_id(hook, run.settings.weights)


def weights_model_id(hook: S3Hook, weights: str) -> str:
    """Return the model_id of an HDF5 file of weights, from its content.

    Raises:
        AirflowFailException: naming the file that is missing, closed or not HDF5.
    """
    bucket, key = hook.parse_s3_url(weights)
    try:
        body = hook.get_conn().get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            raise AirflowFailException(
                f"weights {weights} do not exist: upload the file, or set the weights param"
            ) from None
        if status == 403:
            raise AirflowFailException(
                f"weights {weights} are refused to Airflow's credentials: allow s3:GetObject in their policy"
            ) from None
        raise
    content = body.read(len(HDF5_SIGNATURE))
    if content != HDF5_SIGNATURE:
        raise AirflowFailException(
            f"weights {weights} are not an HDF5 file: expected what Keras saves with save_weights('….weights.h5'), "
            "or its own mobilenet_v2 ….h5"
        )
    digest = hashlib.sha256(content)
    for chunk in iter(lambda: body.read(2**20), b""):
        digest.update(chunk)
    return f"{NETWORK}-{digest.hexdigest()[:16]}-{INPUT_SIZE}-{EXPORTER}"


def artifact(run: Run, model: str) -> Location:
    """Return where `export_model` writes a network."""
    return run.layout.models / model / "model.tflite"


def is_whole(hook: S3Hook, where: Location) -> bool:
    """Say whether there is a network, and all of it: half of one, as a copy leaves that broke off, `export_model` makes anew."""
    try:
        answer = hook.get_conn().get_object(Bucket=where.bucket, Key=where.key, Range=f"bytes=-{END_OF_ZIP_BYTES}")
    except ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchKey", "InvalidRange"}:  # the second: it is empty
            return False
        raise
    return bool(answer["Body"].read().startswith(END_OF_ZIP))


def point_to(hook: S3Hook, run: Run, model: str | None) -> bool:
    """Write the run's pointer to a network that is in S3 already, as `export_model` would; say whether it is."""
    if model is None or not is_whole(hook, artifact(run, model)):
        return False
    objects.put_json(hook, run.layout.model_pointer, {"model_id": model, "uri": artifact(run, model).uri})
    return True
