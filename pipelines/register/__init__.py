"""The stage register: an evaluated model -> a version in the registry."""
