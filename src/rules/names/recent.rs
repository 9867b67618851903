//! A map that knows in which order its keys were last put.

use std::hash::Hash;

use foldhash::HashMap;

/// No node.
const NONE: u32 = u32::MAX;

/// Key to value; the key put least recently is at hand. Values lie in one vector, linked in
/// order, so that a move to the end is four writes.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    index: HashMap<K, u32>,
    nodes: Vec<Node<K, V>>,
    oldest: u32,
    newest: u32,
    /// First of the unused nodes, linked by `newer`.
    unused: u32,
}

#[derive(Debug)]
struct Node<K, V> {
    /// None in an unused node.
    entry: Option<(K, V)>,
    older: u32,
    newer: u32,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub fn new() -> Self {
        let (index, nodes) = (HashMap::default(), Vec::new());
        Self {
            index,
            nodes,
            oldest: NONE,
            newest: NONE,
            unused: NONE,
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        let at = *self.index.get(key)?;
        self.nodes[at as usize]
            .entry
            .as_ref()
            .map(|(_, value)| value)
    }

    /// The value of a key, whose place in the order stays.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = *self.index.get(key)?;
        self.nodes[at as usize]
            .entry
            .as_mut()
            .map(|(_, value)| value)
    }

    /// The value of a key, which becomes the newest; made when there is none.
    pub fn put(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.index.get(&key) {
            Some(at) => {
                let at = *at;
                self.unlink(at);
                at
            }
            None => {
                let at = self.unused_node();
                self.index.insert(key, at);
                at
            }
        };
        self.link(at);
        &mut self.nodes[at as usize]
            .entry
            .get_or_insert_with(|| (key, make()))
            .1
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.index.remove(key)?;
        self.unlink(at);
        let node = &mut self.nodes[at as usize];
        node.newer = self.unused;
        self.unused = at;
        node.entry.take().map(|(_, value)| value)
    }

    /// The key put least recently.
    pub fn oldest(&self) -> Option<K> {
        let node = self.nodes.get(self.oldest as usize)?;
        node.entry.as_ref().map(|(key, _)| *key)
    }

    /// All, those put least recently first.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let mut next = self.oldest;
        std::iter::from_fn(move || {
            let node = self.nodes.get(next as usize)?;
            next = node.newer;
            let (key, value) = node.entry.as_ref()?;
            Some((*key, value))
        })
    }

    /// All, in no particular order; the order of putting stays as it is.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.nodes
            .iter_mut()
            .filter_map(|node| node.entry.as_mut())
            .map(|(key, value)| (*key, value))
    }

    fn unused_node(&mut self) -> u32 {
        if self.unused == NONE {
            self.nodes.push(Node {
                entry: None,
                older: NONE,
                newer: NONE,
            });
            return self.nodes.len() as u32 - 1;
        }
        let at = self.unused;
        self.unused = self.nodes[at as usize].newer;
        at
    }

    fn link(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        node.newer = NONE;
        node.older = self.newest;
        match self.newest {
            NONE => self.oldest = at,
            newest => self.nodes[newest as usize].newer = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let Node { older, newer, .. } = self.nodes[at as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn order_is_that_of_the_last_put(
            steps in prop::collection::vec((0..3u8, 0..8u8), 0..60)
        ) {
            let mut map = Recent::new();
            let mut model: Vec<(u8, usize)> = Vec::new();
            for (step, (what, key)) in steps.into_iter().enumerate() {
                let known = model.iter().position(|(listed, _)| *listed == key);
                let known = known.map(|at| model.remove(at));
                if what == 0 {
                    prop_assert_eq!(map.remove(&key), known.map(|(_, value)| value));
                } else {
                    let value = known.map_or(step, |(_, value)| value);
                    prop_assert_eq!(*map.put(key, || step), value);
                    model.push((key, value));
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.oldest(), model.first().map(|(key, _)| *key));
                prop_assert!(map.nodes.len() <= 8, "nodes are used again");
                let mut all: Vec<_> = map.iter_mut().map(|(key, value)| (key, *value)).collect();
                let mut expected = model.clone();
                let in_order: Vec<_> = map.iter().map(|(key, value)| (key, *value)).collect();
                prop_assert_eq!(&in_order, &model);
                all.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(all, expected);
            }
            while let Some(key) = map.oldest() {
                prop_assert_eq!(model.remove(0), (key, map.remove(&key).unwrap()));
            }
            prop_assert!(model.is_empty());
        }
    }
}
