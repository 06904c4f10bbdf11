"""Steps of the pipeline: one module and one PTransform each, with a pure twin in `transforms.audit`."""
