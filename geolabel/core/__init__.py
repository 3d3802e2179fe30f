"""Pure values and geometry: no input or output, only numpy, affine, shapely and pyproj."""
