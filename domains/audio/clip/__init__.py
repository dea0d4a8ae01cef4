"""OpenAI CLIP: pictures and text in one space, what CLIPSep and CLIPSonic are asked with."""
