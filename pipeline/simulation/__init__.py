"""A simulated B200 HGX server under LLM inference, as a PDU meter would see it. Simulated, not measured."""
