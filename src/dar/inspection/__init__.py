"""What a data set holds, looked at image by image before a training spends time on it."""
