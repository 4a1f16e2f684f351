"""What is measured by hand, seldom: quality, speed, memory. Each module tells its command."""
