"""Files that other programs open: GeoParquet, GeoTIFF, GeoPackage, pictures of maps."""
