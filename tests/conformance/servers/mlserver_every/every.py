"""A model for MLServer that gives back what it is given."""

# its packages are in an environment of their own
# mypy: ignore-errors

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Every(MLModel):
    """Echoes every tensor."""

    async def load(self) -> bool:
        """Nothing to load."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Give back what came, or of it what is asked for."""
        wanted = {each.name for each in payload.outputs or ()}
        outputs = [
            ResponseOutput(name=name, shape=each.shape, datatype=each.datatype, data=each.data)
            for each in payload.inputs
            if (name := each.name.replace("in_", "out_")) in wanted or not wanted
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, id=payload.id, outputs=outputs)
