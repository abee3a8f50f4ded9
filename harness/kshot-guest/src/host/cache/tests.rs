use super::*;

fn draft(cache: &Cache) -> Draft {
    match cache.find_or_draft("kind", "key", || ()).unwrap() {
        Lookup::Missing(draft) => draft,
        Lookup::Found(path) => panic!("{} is there", path.display()),
    }
}

#[test]
fn a_draft_is_seen_only_once_it_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let made = draft(&cache);
    fs::write(made.path().join("file"), "text").unwrap();
    assert!(cache.find("kind", "key").is_none());
    let path = made.commit().unwrap();
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "text");
    assert!(matches!(cache.find_or_draft("kind", "key", || ()).unwrap(), Lookup::Found(_)));
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let made = draft(&cache);
    let scratch = made.scratch().unwrap();
    drop((scratch, made));
    assert_eq!(fs::read_dir(folder.path().join("kind")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_builder_left_is_swept_by_the_next_of_the_same_entry() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let (dead, other) =
        (folder.path().join("kind/.draft-key-dead"), folder.path().join("kind/.draft-other-1"));
    fs::create_dir_all(dead.join("source")).unwrap();
    fs::create_dir_all(&other).unwrap();
    let _made = draft(&cache);
    assert!(!dead.exists());
    assert!(other.exists(), "it may be alive: its lock is another");
}

#[test]
fn what_killed_processes_left_is_swept_and_what_is_being_made_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let made = draft(&cache);
    let left = [".draft-an-other-1", ".gone-key-2"].map(|name| folder.path().join("kind").join(name));
    for path in &left {
        fs::create_dir_all(path.join("source")).unwrap();
    }
    assert!(cache.remove_abandoned("kind").unwrap() > 0);
    assert!(made.path().is_dir());
    assert!(!left[0].exists());
    assert!(left[1].exists(), "the entry's lock is held, so it may be going just now");
    drop(made);
    cache.remove_abandoned("kind").unwrap();
    assert!(!left[1].exists());
    assert_eq!(cache.remove_abandoned("kind").unwrap(), 0);
    assert_eq!(cache.kinds().unwrap(), ["kind"]);
}

#[test]
fn a_second_builder_waits_for_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let first = draft(&cache);
    let (waits, on_wait) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| cache.find_or_draft("kind", "key", || waits.send(()).unwrap()).unwrap());
        on_wait.recv().unwrap();
        first.commit().unwrap();
        assert!(matches!(second.join().unwrap(), Lookup::Found(_)));
    });
}

fn made(cache: &Cache, key: &str, bytes: usize, used: SystemTime) {
    let Lookup::Missing(draft) = cache.find_or_draft("kind", key, || ()).unwrap() else {
        panic!("{key} is there")
    };
    fs::write(draft.path().join("file"), vec![1; bytes]).unwrap();
    let path = draft.commit().unwrap();
    File::open(path).unwrap().set_modified(used).unwrap();
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    for (key, used) in [("a", 3), ("b", 1), ("c", 2)] {
        made(&cache, key, 100_000, at(used));
    }
    cache.mark_used("kind", "b");
    let bytes: u64 = cache.entries().unwrap().iter().map(|held| held.bytes).sum();
    assert!(bytes >= 300_000);
    let gone = cache.evict("kind", bytes - 1).unwrap();
    assert_eq!(gone.iter().map(|held| held.key.as_str()).collect::<Vec<_>>(), ["c"]);
    assert!(cache.find("kind", "c").is_none());
    assert!(cache.evict("kind", bytes).unwrap().is_empty());
    assert_eq!(fs::read_dir(folder.path().join("kind")).unwrap().count(), 2, "nothing is left of it");
}

#[test]
fn what_is_being_made_is_neither_counted_nor_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let made = draft(&cache);
    assert!(cache.entries().unwrap().is_empty());
    cache.remove("kind", "key").unwrap();
    made.commit().unwrap();
    assert_eq!(cache.entries().unwrap().len(), 1);
}

#[test]
fn what_another_process_works_in_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    fs::create_dir_all(folder.path().join("workshops/busy")).unwrap();
    let lock = cache.lock("workshops-busy", || ()).unwrap();
    assert!(!cache.remove("workshops", "busy").unwrap());
    assert!(cache.evict_until(cache.entries().unwrap(), 0).unwrap().is_empty());
    assert!(folder.path().join("workshops/busy").is_dir());
    drop(lock);
    assert!(cache.remove("workshops", "busy").unwrap());
    assert!(!folder.path().join("workshops/busy").exists());
}

#[test]
fn parts_of_a_key_do_not_run_into_each_other() {
    assert_ne!(key([&b"ab"[..], b"c"]), key([&b"a"[..], b"bc"]));
}
