//! Work on several items at a time, one thread per job.

use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does `work` on each of `items`, in their order, `jobs` at a time; `done` is called with each result as it
/// comes, on the caller's thread, with the item's number. Once it answers with an error, no further item is
/// begun, and that error is returned.
///
/// # Errors
/// The first error that `done` returns.
pub fn each<T: Sync, R: Send, E>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    let next = Mutex::new(0..items.len());
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    // A channel without a buffer: a worker begins nothing new before its last result was received.
    let (sender, results) = mpsc::sync_channel(0);
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            let sender = sender.clone();
            let (take, work) = (&take, &work);
            scope.spawn(move || {
                while let Some(number) = take() {
                    // Nobody receives results after an error.
                    if sender.send((number, work(&items[number]))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let result = results.iter().try_for_each(|(number, result)| done(number, result));
        // Workers with a result that nobody receives end.
        drop(results);
        result
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn every_item_is_done_once_and_as_many_at_a_time_as_asked() {
        // Each waits for the other of its pair: a single worker would wait for ever.
        let barrier = Barrier::new(2);
        let mut seen = Vec::new();
        let items: Vec<usize> = (0..10).collect();
        let work = |item: &usize| {
            barrier.wait();
            item * 2
        };
        each(&items, 2, work, |number, result| {
            seen.push((number, result));
            Ok::<(), ()>(())
        })
        .unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).map(|item| (item, item * 2)).collect::<Vec<_>>());
    }

    #[test]
    fn after_an_error_nothing_new_is_begun() {
        let items: Vec<usize> = (0..1000).collect();
        let begun = Mutex::new(0);
        let work = |_: &usize| *begun.lock().unwrap() += 1;
        let error = each(&items, 1, work, |_, ()| Err("enough")).unwrap_err();
        assert_eq!(error, "enough");
        assert!(*begun.lock().unwrap() <= 2, "{begun:?}");
    }

    #[test]
    fn nothing_to_do_is_no_fault() {
        each(&[] as &[()], 4, |()| (), |_, ()| Err(())).unwrap();
    }
}
