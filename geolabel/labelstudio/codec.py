"""The only place where regions change between Label Studio's percent and chip pixels."""

from geolabel.labelstudio.decode import Decoded, decode_result, decode_shape
from geolabel.labelstudio.encode import Encoded, encode_regions, rasterise

__all__ = ["Decoded", "Encoded", "decode_result", "decode_shape", "encode_regions", "rasterise"]
