"""BR-NPA, and the networks it is compared with, for classes."""
