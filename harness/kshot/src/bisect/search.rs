//! The bisection's state machine: its plan and the events so far determine the next step. No clock, no files.
//!
//! Every answer is worked out anew from the events, so a search that was cut off goes on from a list of them.
//! A run *shows* what is looked for or is *quiet*. One show settles a node; quiet ones settle it only in numbers
//! ([`super::odds`]), so the search goes by a few of them, and proves with fresh runs what it came to. A mark
//! that a proof overturns is a mark the other way, and the search goes on from there.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Lens, Runs};
use super::odds::{self, Rate};
use super::plan::{Change, Event, Flip, Left, Next, Outcome, Plan, Purpose, Subject};

/// The number of recent attempts that decide whether the host fails too often.
const HOST_WINDOW: usize = 10;
/// The maximum number of different states of a good end; with more, the question has no stable answer there.
const STATES_MOST: usize = 3;

/// The state machine of a bisection.
#[derive(Clone, Debug)]
pub struct Search {
    plan: Plan,
    events: Vec<Event>,
}

/// The interval that is searched for one change: nodes without it and one node with it.
#[derive(Clone, Debug)]
struct Range {
    old: Vec<usize>,
    new: usize,
}

/// The evaluation of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The node is without the change.
    Old,
    /// The node has the change.
    New,
    /// The node does not build, boot or answer.
    Skipped,
    /// There are not enough runs yet.
    Open,
}

/// The events, sorted by what they are about.
struct Known<'a> {
    plan: &'a Plan,
    images: BTreeMap<Subject, &'a str>,
    first: BTreeMap<&'a str, Subject>,
    runs: BTreeMap<Subject, Runs>,
    /// The candidates that were to be proven good, in order: the good ends and the candidates of proofs.
    attempts: Vec<Subject>,
}

/// The result of a part of the search: a value, or the step that is needed first.
type Step<T> = Result<T, Next>;

impl Search {
    /// A search without events.
    pub fn new(plan: Plan) -> Self {
        Self { plan, events: Vec::new() }
    }

    /// The search plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The events so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Adds an event.
    pub fn record(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The number of runs of this candidate or of others with the same image.
    pub fn runs_of(&self, subject: Subject) -> usize {
        Known::of(&self.plan, &self.events).runs(subject).seen.len()
    }

    /// The next step.
    pub fn next(&self) -> Next {
        if let Some(why) = self.host_dominates() {
            return Next::Done(Outcome::HostFaults { why });
        }
        let known = Known::of(&self.plan, &self.events);
        known.work().unwrap_or_else(|next| next)
    }

    /// The nodes that may be tested after the current run: one if it turns out good, another if bad.
    pub fn ahead(&self) -> Vec<usize> {
        let Next::Run { subject: subject @ Subject::At(now), purpose: Purpose::Mark, .. } = self.next()
        else {
            return Vec::new();
        };
        let mut nodes = Vec::new();
        let known = Known::of(&self.plan, &self.events);
        let quiet = known.quiet_of_ends().into_iter().next().unwrap_or_default();
        for state in [quiet, "\u{0}".into()] {
            let mut search = self.clone();
            while let Next::Run { subject: next, purpose, .. } = search.next() {
                if next != subject {
                    if let (Subject::At(node), Purpose::Mark) = (next, purpose)
                        && !nodes.contains(&node)
                        && node != now
                    {
                        nodes.push(node);
                    }
                    break;
                }
                search.record(Event::Ran { subject, purpose, state: state.clone() });
            }
        }
        nodes
    }

    /// The last host error, if most of the recent attempts were host errors.
    fn host_dominates(&self) -> Option<String> {
        let tries = self.events.iter().rev().filter(|event| !matches!(event, Event::Built { .. }));
        let faults = tries.take(HOST_WINDOW).filter_map(|event| match event {
            Event::HostFault { why } => Some(why),
            _ => None,
        });
        let faults: Vec<_> = faults.collect();
        (faults.len() * 2 > HOST_WINDOW).then(|| faults[0].clone())
    }
}

impl<'a> Known<'a> {
    fn of(plan: &'a Plan, events: &'a [Event]) -> Self {
        let mut known = Self {
            plan,
            images: BTreeMap::new(),
            first: BTreeMap::new(),
            runs: BTreeMap::new(),
            attempts: Vec::new(),
        };
        for event in events {
            match event {
                Event::Built { subject, image } => {
                    known.images.insert(*subject, image);
                    known.first.entry(image).or_insert(*subject);
                }
                Event::Ran { subject, purpose, state } => {
                    let class = known.class(*subject);
                    let attempt =
                        matches!(purpose, Purpose::End | Purpose::Proof) && *subject != Subject::At(plan.bad);
                    if attempt && !known.attempts.contains(&class) {
                        known.attempts.push(class);
                    }
                    known.runs.entry(class).or_default().seen.push((*purpose, state.clone()));
                }
                Event::CannotTell { subject, why } => {
                    let class = known.class(*subject);
                    known.runs.entry(class).or_default().cannot_tell.push(why.clone());
                }
                Event::HostFault { .. } => {}
            }
        }
        known
    }

    /// The candidate that represents all candidates with the same image.
    fn class(&self, subject: Subject) -> Subject {
        self.images.get(&subject).and_then(|image| self.first.get(image)).copied().unwrap_or(subject)
    }

    fn runs(&self, subject: Subject) -> &Runs {
        static NONE: Runs = Runs { seen: Vec::new(), cannot_tell: Vec::new() };
        self.runs.get(&self.class(subject)).unwrap_or(&NONE)
    }

    /// The whole search, from confirming the ends to the result.
    fn work(&self) -> Step<Next> {
        let (good, lens) = self.ends()?;
        let fixed = self.plan.history.is_ancestor(self.plan.bad, good[0]);
        let mut range = if fixed {
            Range { old: vec![self.plan.bad], new: good[0] }
        } else {
            Range { old: good, new: self.plan.bad }
        };
        let mut lens = lens;
        let mut changes = Vec::new();
        loop {
            let change = self.change(&range, &lens, fixed)?;
            // If the node at the change shows another state than the bad end, there is a further change beyond it.
            let side = if fixed { change.before.clone() } else { vec![change.culprit()] };
            let there: BTreeSet<String> =
                side.iter().flat_map(|&node| self.runs(Subject::At(node)).states()).collect();
            let rest: BTreeSet<String> = self
                .runs(Subject::At(self.plan.bad))
                .states()
                .filter(|state| !lens.quiet.contains(state) && !there.contains(state))
                .collect();
            changes.push(change);
            if rest.is_empty() || side.len() != 1 {
                break;
            }
            lens.quiet.extend(there);
            lens.rate = match self.rate(&lens.quiet) {
                Ok(rate) => rate,
                Err(Next::Done(_)) => break,
                Err(next) => return Err(next),
            };
            range = if fixed { Range { new: side[0], ..range } } else { Range { old: side, ..range } };
        }
        if let [change] = changes.as_slice() {
            self.checks(change, &range, &lens, fixed)?;
        }
        let level = |(attempt, subject): (usize, &Subject)| {
            let share = odds::share(self.plan.error, attempt);
            self.runs(*subject).proof(&lens.quiet).map_or(share, |quiet| lens.rate.hidden(quiet).min(share))
        };
        let wrong = self.attempts.iter().enumerate().map(level).sum();
        Ok(Next::Done(Outcome::Found { changes, wrong }))
    }

    /// Confirms both ends; looks for a good one first if none is given.
    fn ends(&self) -> Step<(Vec<usize>, Lens)> {
        let Plan { bad, .. } = *self.plan;
        let good = if self.plan.good.is_empty() { vec![self.walk()?] } else { self.plan.good.clone() };
        // One run of each shows whether more runs are worthwhile.
        for &end in &good {
            self.try_end(end, 1, Purpose::End)?;
        }
        self.try_end(bad, 1, Purpose::End)?;
        let quiet = self.quiet_states(&good);
        self.good_is_quiet(&good, &quiet)?;
        let rate = self.rate(&quiet)?;
        for &end in &good {
            let needed = rate.quiet_needed(odds::share(self.plan.error, self.attempt(Subject::At(end))));
            self.try_end(end, needed, Purpose::End)?;
        }
        let quiet = self.quiet_states(&good);
        self.good_is_quiet(&good, &quiet)?;
        Ok((good, Lens { rate: self.rate(&quiet)?, quiet }))
    }

    /// The good states: those of the plan, otherwise those of the good ends.
    fn quiet_states(&self, good: &[usize]) -> BTreeSet<String> {
        if self.plan.quiet.is_empty() {
            good.iter().flat_map(|&end| self.runs(Subject::At(end)).states()).collect()
        } else {
            self.plan.quiet.clone()
        }
    }

    fn quiet_of_ends(&self) -> BTreeSet<String> {
        self.quiet_states(&self.plan.good)
    }

    fn good_is_quiet(&self, good: &[usize], quiet: &BTreeSet<String>) -> Step<()> {
        for &end in good {
            let mut states = self.runs(Subject::At(end)).states();
            if let Some(state) = states.find(|state| !quiet.contains(state)) {
                return Err(Next::Done(Outcome::WrongEnd { end, state }));
            }
            let states: BTreeSet<_> = self.runs(Subject::At(end)).states().collect();
            if states.len() > STATES_MOST {
                return Err(Next::Done(Outcome::Unstable { end, states: states.len() }));
            }
        }
        Ok(())
    }

    /// The number of runs until the bad end was bad as often as the accepted error requires.
    fn rate(&self, quiet: &BTreeSet<String>) -> Step<Rate> {
        let wanted = odds::shows_needed(odds::share(self.plan.error, 0));
        let subject = Subject::At(self.plan.bad);
        let (mut shows, mut runs, mut silence) = (0, 0, 0);
        for (_, state) in &self.runs(subject).seen {
            runs += 1;
            silence += 1;
            if !quiet.contains(state) {
                (shows, silence) = (shows + 1, 0);
            }
            if shows == wanted {
                return Ok(Rate { shows, runs });
            }
            if silence == self.plan.patience {
                return Err(Next::Done(match shows {
                    0 => Outcome::NoChange { runs },
                    _ => Outcome::TooRare { shows, runs },
                }));
            }
        }
        Err(want(subject, Purpose::End, self.plan.history.len(), wanted - shows))
    }

    /// Requires that an end has run `times` times.
    fn try_end(&self, end: usize, times: u32, purpose: Purpose) -> Step<()> {
        let subject = Subject::At(end);
        let runs = self.runs(subject);
        if runs.is_skipped() {
            let why = runs.cannot_tell.last().cloned().unwrap_or_default();
            return Err(Next::Done(Outcome::Unusable { end, why }));
        }
        let done = runs.count();
        if done < times {
            return Err(want(subject, purpose, self.plan.history.len(), times - done));
        }
        Ok(())
    }

    /// Looks for a good end at a distance of 1, 2, 4, ... nodes from the bad one, then at the last node.
    fn walk(&self) -> Step<usize> {
        let Plan { bad, .. } = *self.plan;
        let last = self.plan.history.len() - 1;
        self.try_end(bad, 1, Purpose::End)?;
        let shows: BTreeSet<String> = self.runs(Subject::At(bad)).states().collect();
        let (room, older) = if bad == 0 { (last, false) } else { (bad, true) };
        let strides =
            (0..usize::BITS).map(|power| 1_usize << power).take_while(|stride| *stride < room).chain([room]);
        for stride in strides {
            let node = if older { bad - stride } else { bad + stride };
            let runs = self.runs(Subject::At(node));
            let quiet = |state: &String| {
                if self.plan.quiet.is_empty() {
                    !shows.contains(state)
                } else {
                    self.plan.quiet.contains(state)
                }
            };
            match runs.seen.first() {
                _ if runs.is_skipped() => {}
                None => return Err(want(Subject::At(node), Purpose::Walk, self.plan.history.len(), 1)),
                Some((_, state)) if quiet(state) => return Ok(node),
                Some(_) => {}
            }
        }
        Err(Next::Done(Outcome::NoGood))
    }

    /// Finds one change in an interval, and proves it.
    fn change(&self, range: &Range, lens: &Lens, fixed: bool) -> Step<Change> {
        let history = &self.plan.history;
        self.contradictions(range, lens, fixed)?;
        let (old, tip) = self.bounds(range, lens, fixed);
        let suspects = history.between(&old, tip);
        let open: Vec<usize> = suspects
            .iter()
            .copied()
            .filter(|&node| node != tip && self.mark(node, range, lens, fixed) == Mark::Open)
            .collect();
        if let Some(node) = self.choose(&suspects, &open, range, lens, fixed) {
            let marks = suspects.len().next_power_of_two().ilog2();
            let proof = lens.rate.shows + lens.rate.quiet_needed(self.plan.error);
            let left =
                Left { suspects: suspects.len(), marks, runs: marks * lens.rate.quiet_for_a_mark() + proof };
            return Err(Next::Run { subject: Subject::At(node), purpose: Purpose::Mark, left });
        }
        let before = self.before(&suspects);
        let mut unproven = Vec::new();
        for &node in before.iter().chain([&tip]) {
            let shows = fixed == (node != tip);
            let purpose = if shows { Purpose::Again } else { Purpose::Proof };
            if !self.prove(Subject::At(node), purpose, shows, lens)? {
                unproven.push(node);
            }
        }
        let flip = if self.plan.flips && suspects.len() == 1 && before.len() == 1 {
            self.flip(tip, lens, fixed)?
        } else {
            None
        };
        Ok(Change { suspects, before, unproven, flip })
    }

    /// The nodes without the change, and the oldest node that is known to have it.
    fn bounds(&self, range: &Range, lens: &Lens, fixed: bool) -> (Vec<usize>, usize) {
        let (mut old, mut tip) = (range.old.clone(), range.new);
        for node in self.tried() {
            match self.mark(node, range, lens, fixed) {
                Mark::Old => old.push(node),
                Mark::New if self.plan.history.is_ancestor(node, tip) => tip = node,
                _ => {}
            }
        }
        (old, tip)
    }

    /// Resolves a node without the change that has an ancestor with it: whichever of the two was only good a few times
    /// is run until it is bad or proven good.
    fn contradictions(&self, range: &Range, lens: &Lens, fixed: bool) -> Step<()> {
        let marked =
            |mark| self.tried().into_iter().filter(move |&node| self.mark(node, range, lens, fixed) == mark);
        let inside = self.plan.history.ancestry(&[range.new]);
        for has in marked(Mark::New).filter(|&node| inside[node]) {
            for lacks in marked(Mark::Old).filter(|&node| inside[node] && node != has) {
                if self.plan.history.is_ancestor(has, lacks) {
                    let doubtful = if fixed { has } else { lacks };
                    if self.prove(Subject::At(doubtful), Purpose::Proof, false, lens)? {
                        return Err(Next::Done(Outcome::NotMonotonic { has, lacks }));
                    }
                }
            }
        }
        Ok(())
    }

    /// The nodes that were tested, or that have the image of a tested one.
    fn tried(&self) -> Vec<usize> {
        let subjects: BTreeSet<Subject> = self.images.keys().chain(self.runs.keys()).copied().collect();
        subjects.into_iter().filter(|subject| self.runs(*subject).count() > 0).filter_map(node).collect()
    }

    fn mark(&self, node: usize, range: &Range, lens: &Lens, fixed: bool) -> Mark {
        let (shows, quiet) = if fixed { (Mark::Old, Mark::New) } else { (Mark::New, Mark::Old) };
        if range.old.contains(&node) {
            return Mark::Old;
        }
        if node == range.new {
            return Mark::New;
        }
        let runs = self.runs(Subject::At(node));
        if runs.shows(&lens.quiet) > 0 {
            shows
        } else if runs.count() >= lens.rate.quiet_for_a_mark() {
            quiet
        } else if runs.is_skipped() {
            Mark::Skipped
        } else {
            Mark::Open
        }
    }

    /// The open node that halves the suspects best, as git's `find_bisection` does. After skipped nodes the choice
    /// moves away from the middle in steps of 1, 2, 4, ...: broken nodes come in clusters.
    fn choose(
        &self,
        suspects: &[usize],
        open: &[usize],
        range: &Range,
        lens: &Lens,
        fixed: bool,
    ) -> Option<usize> {
        let started = |node: &&usize| self.runs(Subject::At(**node)).count() > 0;
        if let Some(node) = open.iter().find(started) {
            return Some(*node);
        }
        let weights = self.plan.history.weights(suspects);
        let mut by_value: Vec<(usize, usize)> = suspects
            .iter()
            .zip(weights)
            .filter(|(node, _)| open.contains(node))
            .map(|(&node, weight)| (weight.min(suspects.len() - weight), node))
            .collect();
        by_value.sort_by_key(|&(value, node)| (std::cmp::Reverse(value), node));
        let skipped =
            suspects.iter().filter(|&&node| self.mark(node, range, lens, fixed) == Mark::Skipped).count();
        let far = 1_usize.checked_shl(u32::try_from(skipped).unwrap_or(u32::MAX)).unwrap_or(usize::MAX) - 1;
        by_value.get(far).or(by_value.last()).map(|&(_, node)| node)
    }

    /// The parents of the suspects that are none.
    fn before(&self, suspects: &[usize]) -> Vec<usize> {
        let parents = suspects.iter().flat_map(|&node| self.plan.history.parents(node)).copied();
        let before: BTreeSet<usize> = parents.filter(|parent| !suspects.contains(parent)).collect();
        before.into_iter().collect()
    }

    /// Requires runs until a candidate is proven bad or good; `false` if it has to be skipped. A bad run where good was
    /// to be proven changes the node's evaluation, and the search goes on from there.
    fn prove(&self, subject: Subject, purpose: Purpose, shows: bool, lens: &Lens) -> Step<bool> {
        let runs = self.runs(subject);
        if runs.is_skipped() {
            return Ok(false);
        }
        let shown = runs.shows(&lens.quiet);
        if !shows {
            let fresh = runs.proof(&lens.quiet).unwrap_or(0);
            let needed = lens.rate.quiet_needed(odds::share(self.plan.error, self.attempt(subject)));
            return if shown > 0 {
                Ok(false)
            } else if fresh < needed {
                Err(want(subject, purpose, 1, needed - fresh))
            } else {
                Ok(true)
            };
        }
        let silence =
            u32::try_from(runs.seen.iter().rev().take_while(|(_, state)| lens.quiet.contains(state)).count())
                .unwrap_or(u32::MAX);
        if shown >= lens.rate.shows {
            Ok(true)
        } else if silence >= self.plan.patience {
            match subject {
                Subject::At(at) => Err(Next::Done(Outcome::Fluke { at, shows: shown, runs: runs.count() })),
                _ => Ok(false),
            }
        } else {
            Err(want(subject, purpose, 1, lens.rate.shows - shown))
        }
    }

    /// Verifies the culprit: reverts it on the newer end or, if that fails, applies it to the older one.
    fn flip(&self, culprit: usize, lens: &Lens, fixed: bool) -> Step<Option<Flip>> {
        for (subject, shows) in [(Subject::Reverted(culprit), fixed), (Subject::Applied(culprit), !fixed)] {
            let runs = self.runs(subject);
            if !runs.is_skipped() {
                let proven = self.prove(subject, Purpose::Flip, shows, lens)?;
                return Ok(Some(Flip { subject, flips: proven }));
            }
        }
        Ok(None)
    }

    /// Tries nodes on both sides of a change, to see that it changed nowhere else.
    fn checks(&self, change: &Change, range: &Range, lens: &Lens, fixed: bool) -> Step<()> {
        let nodes = self.plan.history.between(&range.old, range.new);
        for number in 1..=self.plan.checks {
            let node = nodes[(nodes.len() * number / (self.plan.checks + 1)).min(nodes.len() - 1)];
            if change.suspects.contains(&node) {
                continue;
            }
            if self.mark(node, range, lens, fixed) == Mark::Open {
                return Err(want(Subject::At(node), Purpose::Check, 1, 1));
            }
        }
        self.contradictions(range, lens, fixed)
    }

    /// The number of this proof. Each proof may use less of the accepted error than the one before.
    fn attempt(&self, subject: Subject) -> usize {
        let class = self.class(subject);
        self.attempts.iter().position(|one| *one == class).unwrap_or(self.attempts.len())
    }
}

fn want(subject: Subject, purpose: Purpose, suspects: usize, runs: u32) -> Next {
    Next::Run { subject, purpose, left: Left { suspects, marks: 0, runs } }
}

fn node(subject: Subject) -> Option<usize> {
    match subject {
        Subject::At(node) => Some(node),
        _ => None,
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
