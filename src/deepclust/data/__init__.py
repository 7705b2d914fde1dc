"""Raw data in: readers, named data sets, and the single door for user data."""
