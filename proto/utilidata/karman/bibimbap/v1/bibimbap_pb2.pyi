import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PowerCalculations(_message.Message):
    __slots__ = ("real_power_w", "apparent_power_va", "reactive_power_var", "power_factor")
    REAL_POWER_W_FIELD_NUMBER: _ClassVar[int]
    APPARENT_POWER_VA_FIELD_NUMBER: _ClassVar[int]
    REACTIVE_POWER_VAR_FIELD_NUMBER: _ClassVar[int]
    POWER_FACTOR_FIELD_NUMBER: _ClassVar[int]
    real_power_w: float
    apparent_power_va: float
    reactive_power_var: float
    power_factor: float
    def __init__(self, real_power_w: _Optional[float] = ..., apparent_power_va: _Optional[float] = ..., reactive_power_var: _Optional[float] = ..., power_factor: _Optional[float] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("utc_time", "generic_sequence_number")
    UTC_TIME_FIELD_NUMBER: _ClassVar[int]
    GENERIC_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    utc_time: _timestamp_pb2.Timestamp
    generic_sequence_number: int
    def __init__(self, utc_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., generic_sequence_number: _Optional[int] = ...) -> None: ...

class WaveformCalculations(_message.Message):
    __slots__ = ("rms", "dc_offset")
    RMS_FIELD_NUMBER: _ClassVar[int]
    DC_OFFSET_FIELD_NUMBER: _ClassVar[int]
    rms: float
    dc_offset: float
    def __init__(self, rms: _Optional[float] = ..., dc_offset: _Optional[float] = ...) -> None: ...

class CompositeCalculations(_message.Message):
    __slots__ = ("provenance", "voltage_waveform_calculations_v", "current_waveform_calculations_a", "power_calculations")
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    VOLTAGE_WAVEFORM_CALCULATIONS_V_FIELD_NUMBER: _ClassVar[int]
    CURRENT_WAVEFORM_CALCULATIONS_A_FIELD_NUMBER: _ClassVar[int]
    POWER_CALCULATIONS_FIELD_NUMBER: _ClassVar[int]
    provenance: Provenance
    voltage_waveform_calculations_v: WaveformCalculations
    current_waveform_calculations_a: WaveformCalculations
    power_calculations: PowerCalculations
    def __init__(self, provenance: _Optional[_Union[Provenance, _Mapping]] = ..., voltage_waveform_calculations_v: _Optional[_Union[WaveformCalculations, _Mapping]] = ..., current_waveform_calculations_a: _Optional[_Union[WaveformCalculations, _Mapping]] = ..., power_calculations: _Optional[_Union[PowerCalculations, _Mapping]] = ...) -> None: ...

class CompositeTwoPhaseCalculations(_message.Message):
    __slots__ = ("phase_a", "phase_b")
    PHASE_A_FIELD_NUMBER: _ClassVar[int]
    PHASE_B_FIELD_NUMBER: _ClassVar[int]
    phase_a: CompositeCalculations
    phase_b: CompositeCalculations
    def __init__(self, phase_a: _Optional[_Union[CompositeCalculations, _Mapping]] = ..., phase_b: _Optional[_Union[CompositeCalculations, _Mapping]] = ...) -> None: ...

class Fft(_message.Message):
    __slots__ = ("provenance", "magnitude", "phase")
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    MAGNITUDE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    provenance: Provenance
    magnitude: _containers.RepeatedScalarFieldContainer[float]
    phase: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, provenance: _Optional[_Union[Provenance, _Mapping]] = ..., magnitude: _Optional[_Iterable[float]] = ..., phase: _Optional[_Iterable[float]] = ...) -> None: ...

class CompositeJoinedCalculationsWrapper(_message.Message):
    __slots__ = ("calculation_name", "calculations", "fft")
    CALCULATION_NAME_FIELD_NUMBER: _ClassVar[int]
    CALCULATIONS_FIELD_NUMBER: _ClassVar[int]
    FFT_FIELD_NUMBER: _ClassVar[int]
    calculation_name: str
    calculations: CompositeTwoPhaseCalculations
    fft: Fft
    def __init__(self, calculation_name: _Optional[str] = ..., calculations: _Optional[_Union[CompositeTwoPhaseCalculations, _Mapping]] = ..., fft: _Optional[_Union[Fft, _Mapping]] = ...) -> None: ...

class CompositeJoinedCalculations(_message.Message):
    __slots__ = ("calculations",)
    CALCULATIONS_FIELD_NUMBER: _ClassVar[int]
    calculations: _containers.RepeatedCompositeFieldContainer[CompositeJoinedCalculationsWrapper]
    def __init__(self, calculations: _Optional[_Iterable[_Union[CompositeJoinedCalculationsWrapper, _Mapping]]] = ...) -> None: ...
