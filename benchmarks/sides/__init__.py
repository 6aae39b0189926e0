"""The functions of each side, under the same names: those that ``Side.call`` finds."""
