//! The candidates of a bisection: versions in a row, or commits with their parents.

use serde::{Deserialize, Serialize};

/// A directed acyclic graph. Its nodes are numbered so that parents come before their children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateGraph {
    parents: Vec<Vec<usize>>,
}

impl CandidateGraph {
    /// `length` nodes in a row, the oldest first.
    pub fn linear(length: usize) -> Self {
        Self { parents: (0..length).map(|node| node.checked_sub(1).into_iter().collect()).collect() }
    }

    /// Creates a history from each node's parents; `None` if a parent does not come before its child.
    pub fn new(parents: Vec<Vec<usize>>) -> Option<Self> {
        let ordered = parents.iter().enumerate().all(|(node, of)| of.iter().all(|parent| *parent < node));
        ordered.then_some(Self { parents })
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// The parents of a node.
    pub fn parents(&self, node: usize) -> &[usize] {
        &self.parents[node]
    }

    /// For each node, whether it is in `nodes` or an ancestor of one of them.
    pub fn ancestry(&self, nodes: &[usize]) -> Vec<bool> {
        let mut within = vec![false; self.len()];
        for &node in nodes {
            within[node] = true;
        }
        for node in (0..self.len()).rev().filter(|node| nodes.iter().any(|of| node <= of)) {
            if within[node] {
                for &parent in &self.parents[node] {
                    within[parent] = true;
                }
            }
        }
        within
    }

    /// Whether `older` is `newer` or one of its ancestors.
    pub fn is_ancestor(&self, older: usize, newer: usize) -> bool {
        older <= newer && self.ancestry(&[newer])[older]
    }

    /// The ancestors of `tip`, itself included, that are not ancestors of any of `old`; in order.
    pub fn between(&self, old: &[usize], tip: usize) -> Vec<usize> {
        let (within, without) = (self.ancestry(&[tip]), self.ancestry(old));
        (0..=tip).filter(|&node| within[node] && !without[node]).collect()
    }

    /// For each of `nodes` (in order), how many of them are its ancestors, itself included. git's
    /// `find_bisection` (bisect.c) calls this the weight.
    pub fn weights(&self, nodes: &[usize]) -> Vec<usize> {
        let mut indexes = vec![usize::MAX; self.len()];
        for (at, &node) in nodes.iter().enumerate() {
            indexes[node] = at;
        }
        let mut weights = vec![0; nodes.len()];
        for (at, &node) in nodes.iter().enumerate() {
            let inside: Vec<usize> = self.parents[node]
                .iter()
                .map(|&parent| indexes[parent])
                .filter(|&at| at != usize::MAX)
                .collect();
            weights[at] = match inside.as_slice() {
                [] => 1,
                [only] => weights[*only] + 1,
                // Ancestries of a merge's sides overlap: they have to be counted.
                _ => self
                    .ancestry(&[node])
                    .iter()
                    .zip(&indexes)
                    .filter(|(within, at)| **within && **at != usize::MAX)
                    .count(),
            };
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 - 1 - 2 ----- 5 - 6
    ///       \- 3 - 4 -/
    fn merge() -> CandidateGraph {
        CandidateGraph::new(vec![vec![], vec![0], vec![1], vec![1], vec![3], vec![2, 4], vec![5]]).unwrap()
    }

    #[test]
    fn an_ancestry_follows_every_side_of_a_merge() {
        let history = merge();
        assert_eq!(history.ancestry(&[4]), [true, true, false, true, true, false, false]);
        assert!(history.is_ancestor(3, 6) && history.is_ancestor(2, 2) && !history.is_ancestor(2, 4));
    }

    #[test]
    fn what_lies_between_leaves_out_the_old_side() {
        assert_eq!(merge().between(&[2], 6), [3, 4, 5, 6]);
        assert_eq!(merge().between(&[4], 6), [2, 5, 6]);
        assert_eq!(merge().between(&[6], 6), [0_usize; 0]);
    }

    #[test]
    fn weights_count_a_shared_ancestor_once() {
        assert_eq!(merge().weights(&[1, 2, 3, 4, 5, 6]), [1, 2, 2, 3, 5, 6]);
    }

    #[test]
    fn a_parent_after_its_child_is_no_history() {
        assert!(CandidateGraph::new(vec![vec![1], vec![]]).is_none());
    }
}
