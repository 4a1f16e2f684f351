"""Inspection of a data set, image by image, before a training spends time on it."""
