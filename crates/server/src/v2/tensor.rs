//! Numbers and texts of JSON tensors, flat whatever their nesting, read straight into bytes: a hostile body must not grow
//! in memory.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, SeqAccess, Visitor},
};

/// Elements of a tensor in row-major order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Elements {
    pub bytes: Vec<u8>,
    pub texts: Vec<String>,
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = Self::default();
        Into(&mut elements).deserialize(deserializer)?;
        Ok(elements)
    }
}

struct Into<'a>(&'a mut Elements);

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("integers from 0 to 255, or texts in base64, in arrays")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        let byte = u8::try_from(value).map_err(|_| E::custom(format!("{value} is no UINT8: it is above 255")))?;
        self.0.bytes.push(byte);
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.0.texts.push(value.into());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(Into(self.0))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_does_not_matter_and_numbers_are_checked() {
        let read = |text: &str| serde_json::from_str::<Elements>(text);
        let bytes = |bytes: &[u8]| Elements { bytes: bytes.to_vec(), texts: vec![] };
        assert_eq!(read("[1, 2, 255]").unwrap(), bytes(&[1, 2, 255]));
        assert_eq!(read("[[[1], [2]], [[255]]]").unwrap(), bytes(&[1, 2, 255]));
        assert_eq!(read(r#"["YQ==", ["Yg=="]]"#).unwrap().texts, ["YQ==", "Yg=="]);
        for bad in ["[256]", "[-1]", "[1.5]", "[null]", "[{}]", "[true]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
