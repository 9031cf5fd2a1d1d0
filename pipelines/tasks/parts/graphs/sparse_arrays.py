"""What is used of scipy's sparse arrays, whose types are unknown: imported where it is used, for that takes a while."""

from scipy.sparse import csr_matrix, diags, hstack, vstack  # type: ignore[import-untyped]

__all__ = ["csr_matrix", "diags", "hstack", "vstack"]
