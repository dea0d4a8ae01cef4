"""Error rates of presentation attack detection, by ISO/IEC 30107-3 and as the literature counts them."""
