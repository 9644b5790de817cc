"""The root file system of a container image: OCI, docker's archives, SIF."""
