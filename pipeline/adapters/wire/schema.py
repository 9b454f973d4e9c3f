"""protobuf's classes and ptars' handlers of our messages.

Must not know: what they are used for.
"""

from __future__ import annotations

from typing import Any, Final

import ptars
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from utilidata.karman.bibimbap.v1 import bibimbap_pb2 as pb

MESSAGE: Final = pb.CompositeJoinedCalculations


def _batch_message() -> Any:
    """The class of `message Batch { repeated CompositeJoinedCalculations messages = 1; }`; it is never on a wire."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="karman/batch.proto", package="karman", syntax="proto3", dependency=[pb.DESCRIPTOR.name]
    )
    file.message_type.add(name="Batch").field.add(
        name="messages",
        number=1,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_REPEATED,
        type_name=f".{MESSAGE.DESCRIPTOR.full_name}",
    )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("karman.Batch"))


BATCH: Final = _batch_message()
# Microseconds are what PostgreSQL stores; ptars' default of nanoseconds cannot be encoded for COPY.
_POOL: Final = ptars.HandlerPool([pb.DESCRIPTOR, BATCH.DESCRIPTOR.file], config=ptars.PtarsConfig(timestamp_unit="us"))
HANDLER: Final = _POOL.get_for_message(MESSAGE.DESCRIPTOR)
BATCH_HANDLER: Final = _POOL.get_for_message(BATCH.DESCRIPTOR)
WIRE_SCHEMA: Final[pa.Schema] = HANDLER.schema()
