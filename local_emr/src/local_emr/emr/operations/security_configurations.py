"""Operations on security configurations."""

from local_emr.emr.errors import InvalidRequestError
from local_emr.emr.identifiers import now
from local_emr.emr.registry import Answer, Registry, Request, page


class SecurityConfigurationOperations:
    """Operations on security configurations: they are stored, and nothing is encrypted."""

    def __init__(self, registry: Registry) -> None:
        self._stored = registry.security_configurations

    def create_security_configuration(self, request: Request, region: str) -> Answer:
        """Store a security configuration."""
        key = (region, request["Name"])
        if key in self._stored:
            raise InvalidRequestError(f"SecurityConfiguration with name '{request['Name']}' already exists.")
        self._stored[key] = {
            "Name": request["Name"],
            "SecurityConfiguration": request["SecurityConfiguration"],
            "CreationDateTime": now(),
        }
        return _summary(self._stored[key])

    def describe_security_configuration(self, request: Request, region: str) -> Answer:
        """Show the stored text."""
        found = self._stored.get((region, request["Name"]))
        if found is None:
            raise _not_found(request)
        return found

    def list_security_configurations(self, request: Request, region: str) -> Answer:
        """List names and dates."""
        found = [_summary(stored) for (where, _), stored in self._stored.items() if where == region]
        return page("SecurityConfigurations", found, request)

    def delete_security_configuration(self, request: Request, region: str) -> Answer:
        """Forget the stored text."""
        if self._stored.pop((region, request["Name"]), None) is None:
            raise _not_found(request)
        return {}


def _summary(stored: Answer) -> Answer:
    return {name: stored[name] for name in ("Name", "CreationDateTime")}


def _not_found(request: Request) -> InvalidRequestError:
    return InvalidRequestError(f"Security configuration with name '{request['Name']}' does not exist.")
