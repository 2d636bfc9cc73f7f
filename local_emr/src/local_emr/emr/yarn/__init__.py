"""A YARN of its own for each cluster: Hadoop's ResourceManager and NodeManagers as processes of this machine."""
