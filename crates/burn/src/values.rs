//! What flows between two nodes.

use burn_tensor::Tensor;

/// A batch of feature maps, `[images, channels, height, width]`, or of vectors, `[images, features]`.
#[derive(Clone)]
pub(crate) enum Value {
    Map(Tensor<4>),
    Vector(Tensor<2>),
}

impl Value {
    /// What `work` makes of feature maps. Vectors are maps of one pixel to it, and become vectors again.
    pub fn each_map(self, work: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
        match self {
            Self::Map(map) => Self::Map(work(map)),
            vectors => Self::Vector(work(vectors.maps()).flatten(1, 3)),
        }
    }

    /// Feature maps; vectors as maps of one pixel.
    pub fn maps(self) -> Tensor<4> {
        match self {
            Self::Map(map) => map,
            Self::Vector(vector) => {
                let [images, features] = vector.dims();
                vector.reshape([images, features, 1, 1])
            }
        }
    }

    /// The vectors of an operation that the graph gives nothing else to.
    pub fn vectors(self) -> Tensor<2> {
        match self {
            Self::Vector(vector) => vector,
            Self::Map(_) => unreachable!("the graph gives vectors here"),
        }
    }
}
