"""Operations on EMR releases."""

from local_emr.emr import releases
from local_emr.emr.errors import InvalidRequestError
from local_emr.emr.registry import Answer, Request


class ReleaseOperations:
    """Operations on EMR releases, the same in every region."""

    def describe_release_label(self, request: Request, _region: str) -> Answer:
        """Show the applications of a release."""
        label = request.get("ReleaseLabel", "")
        found = releases.RELEASES.get(label)
        if found is None:
            raise InvalidRequestError(f"The release label {label!r} is not valid, or local_emr does not know it.")
        return {
            "ReleaseLabel": label,
            "Applications": [{"Name": name, "Version": version} for name, version in found.items()],
            "AvailableOSReleases": [{"Label": releases.OS_RELEASES[label[:5]]}],
        }

    def list_release_labels(self, request: Request, _region: str) -> Answer:
        """List labels, newest first."""
        filters = request.get("Filters", {})
        prefix = filters.get("Prefix", "")
        name, _, version = filters.get("Application", "").partition("@")
        labels = [
            label
            for label, versions in releases.RELEASES.items()
            if label.startswith(prefix)
            and (not name or name.lower() in map(str.lower, versions))
            and (not version or version in versions.values())
        ]
        return {"ReleaseLabels": labels}
