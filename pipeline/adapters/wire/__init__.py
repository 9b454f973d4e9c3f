"""The wire format: frame bytes to Arrow rows and back. The only importer of protobuf's generated code and of ptars.

A payload is one `CompositeJoinedCalculations`.
"""

from pipeline.adapters.wire.decoding import Decoded, Decoder, drop_reason
from pipeline.adapters.wire.encoding import encode
from pipeline.adapters.wire.messages import by_attributes, find_topic

__all__ = ["Decoded", "Decoder", "by_attributes", "drop_reason", "encode", "find_topic"]
