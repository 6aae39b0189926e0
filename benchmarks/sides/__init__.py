"""What each side does, under the same names: the functions that ``Side.call`` finds."""
