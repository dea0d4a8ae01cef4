"""BioViL and BioViL-T: chest X-rays, radiology text and the change between two studies."""
