//! Gives equal vectors one index.

use std::collections::HashMap;

use super::{CompileError, MAX_VECTORS, NAME_VECTORS, VECTOR_ALL, VectorIndex};
use crate::rules::Bits;

/// Vectors so far. Index 0 has all bits set.
pub(super) struct Vectors {
    list: Vec<Bits>,
    index: HashMap<Bits, VectorIndex>,
    /// Bits of the rules that exist.
    rules: Bits,
}

impl Vectors {
    /// For so many rules.
    pub fn new(rules: usize) -> Self {
        Self {
            list: vec![Bits::ALL],
            index: HashMap::from([(Bits::ALL, VECTOR_ALL)]),
            rules: Bits::below(rules),
        }
    }

    /// The index of a vector; one that rejects no rule is index 0.
    pub fn intern(&mut self, vector: Bits) -> Result<VectorIndex, CompileError> {
        let vector = vector & self.rules;
        if vector == self.rules {
            Ok(VECTOR_ALL)
        } else {
            self.intern_exact(vector)
        }
    }

    /// As [`Self::intern`], but never the bits of a rule that does not exist: the dimension
    /// that uses it alone keeps them out of the result.
    pub fn intern_exact(&mut self, vector: Bits) -> Result<VectorIndex, CompileError> {
        let vector = vector & self.rules;
        if let Some(index) = self.index.get(&vector) {
            return Ok(*index);
        }
        if self.list.len() >= MAX_VECTORS - NAME_VECTORS {
            return Err(CompileError::TooManyVectors);
        }
        // Below MAX_VECTORS, which fits.
        let index = self.list.len() as VectorIndex;
        self.list.push(vector);
        self.index.insert(vector, index);
        Ok(index)
    }

    /// All of them, in order of their indices.
    pub fn into_list(mut self) -> Vec<Bits> {
        self.list.shrink_to_fit();
        self.list
    }
}
