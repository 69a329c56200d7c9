"""BR-NPA for persons, found by other cameras."""
