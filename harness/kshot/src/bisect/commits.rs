//! Commits as candidates: the history between the good and the bad end.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::graph::CandidateGraph;
use kshot_guest::git::{GitError, ListedCommit, Repository};

/// The commits of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitRange {
    /// The commit ids, in the order of the history's nodes.
    pub(crate) ids: Vec<String>,
    /// The commits' parents.
    pub(crate) history: CandidateGraph,
    /// The nodes without the fault.
    pub(crate) good: Vec<usize>,
    /// The node with the fault.
    pub(crate) bad: usize,
    /// Whether the good commit is not an ancestor of the bad one, so that their merge base is used instead.
    pub(crate) forked: bool,
}

impl CommitRange {
    /// The commits between the revisions `good` and `bad` of `repository`, restricted to those that touch
    /// `paths`.
    ///
    /// # Errors
    /// [`GitError`].
    pub(crate) fn between(
        repository: &Repository,
        good: &str,
        bad: &str,
        paths: &[String],
    ) -> Result<Self, GitError> {
        let (good, bad) = (repository.commit(good)?, repository.commit(bad)?);
        let bases = repository.merge_bases(&good, &bad)?;
        if bases.contains(&bad) {
            // The bad commit is the older one: the search looks for the fix.
            let listed = repository.list(std::slice::from_ref(&bad), &good, paths)?;
            let (ids, history) = build_graph(std::slice::from_ref(&bad), &good, listed, paths.is_empty());
            let at = |id: &String| ids.iter().position(|one| one == id).unwrap_or_default();
            return Ok(Self { good: vec![at(&good)], bad: at(&bad), ids, history, forked: false });
        }
        let forked = !bases.contains(&good);
        let old = if forked { bases } else { vec![good] };
        let listed = repository.list(&old, &bad, paths)?;
        let (ids, history) = build_graph(&old, &bad, listed, paths.is_empty());
        let at = |id: &String| ids.iter().position(|one| one == id).unwrap_or_default();
        Ok(Self { good: old.iter().map(at).collect(), bad: at(&bad), ids, history, forked })
    }
}

/// The nodes of a bisection: first the older parents of listed commits, then `old`, then the listed commits
/// up to `new`.
///
/// A listed commit may have a parent that is neither listed nor in `old`: a branch that began earlier and was
/// merged later. It is an ancestor of `old`, and becomes one here. With paths (`all_paths` is false) git
/// rewrites parents to the nearest commit that touches them; before the first of those comes `old`.
fn build_graph(
    old: &[String],
    new: &str,
    listed: Vec<ListedCommit>,
    all_paths: bool,
) -> (Vec<String>, CandidateGraph) {
    let mut graph = GraphBuilder::default();
    let inside: HashSet<&String> = listed.iter().map(|one| &one.commit).chain(old).collect();
    let mut outside = BTreeSet::new();
    for parent in
        listed.iter().flat_map(|one| &one.parents).filter(|parent| all_paths && !inside.contains(parent))
    {
        outside.insert(graph.add(parent, &BTreeSet::new()));
    }
    let old: BTreeSet<usize> = old.iter().map(|id| graph.add(id, &outside)).collect();
    for one in &listed {
        let known: BTreeSet<usize> =
            one.parents.iter().filter_map(|parent| graph.nodes.get(parent)).copied().collect();
        let of = if known.is_empty() { &old } else { &known };
        graph.add(&one.commit, of);
    }
    let with_children: HashSet<usize> = graph.parents.iter().flatten().copied().collect();
    let heads = (0..graph.ids.len()).filter(|node| !with_children.contains(node)).collect();
    graph.add(new, &heads);
    let history = CandidateGraph::new(graph.parents).expect("git lists parents before children");
    (graph.ids, history)
}

#[derive(Default)]
struct GraphBuilder {
    ids: Vec<String>,
    parents: Vec<Vec<usize>>,
    nodes: HashMap<String, usize>,
}

impl GraphBuilder {
    /// The node of a commit, added if it is new.
    fn add(&mut self, id: &str, parents: &BTreeSet<usize>) -> usize {
        if let Some(node) = self.nodes.get(id) {
            return *node;
        }
        self.nodes.insert(id.into(), self.ids.len());
        self.ids.push(id.into());
        self.parents.push(parents.iter().copied().collect());
        self.ids.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rows: &[(&str, &[&str])]) -> Vec<ListedCommit> {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        rows.iter()
            .map(|(commit, parents)| ListedCommit { commit: (*commit).into(), parents: owned(parents) })
            .collect()
    }

    fn arranged(rows: &[(&str, &[&str])], new: &str, whole: bool) -> Vec<(String, Vec<usize>)> {
        let (ids, history) = build_graph(&["old".into()], new, listed(rows), whole);
        ids.into_iter().enumerate().map(|(node, id)| (id, history.parents(node).to_vec())).collect()
    }

    #[test]
    fn commits_in_a_row_begin_at_the_old_end() {
        let nodes = arranged(&[("a", &["old"]), ("b", &["a"])], "b", true);
        assert_eq!(nodes, [("old".into(), vec![]), ("a".into(), vec![0]), ("b".into(), vec![1])]);
    }

    #[test]
    fn a_branch_from_before_the_old_end_hangs_below_it() {
        let nodes = arranged(&[("a", &["early"]), ("b", &["old"]), ("m", &["b", "a"])], "m", true);
        assert_eq!(
            nodes,
            [
                ("early".into(), vec![]),
                ("old".into(), vec![0]),
                ("a".into(), vec![0]),
                ("b".into(), vec![1]),
                ("m".into(), vec![2, 3])
            ]
        );
    }

    #[test]
    fn with_paths_the_first_commits_hang_on_the_old_end_and_the_new_end_on_the_last() {
        let nodes = arranged(&[("a", &["far-before"]), ("b", &["a"])], "new", false);
        assert_eq!(
            nodes,
            [("old".into(), vec![]), ("a".into(), vec![0]), ("b".into(), vec![1]), ("new".into(), vec![2])]
        );
    }

    #[test]
    fn nothing_that_touches_the_paths_leaves_the_two_ends() {
        assert_eq!(arranged(&[], "new", false), [("old".into(), vec![]), ("new".into(), vec![0])]);
    }
}
