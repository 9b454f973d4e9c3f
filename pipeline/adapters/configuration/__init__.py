"""Fleet files: YAML, checked against a schema, as the pipeline's configuration. The only importer of pydantic and yaml.

`source` reads, `document` says what may stand there, `complaints` what is wrong, `loading` makes the configuration.
"""

from pipeline.adapters.configuration.loading import Loaded, load, schema

__all__ = ["Loaded", "load", "schema"]
