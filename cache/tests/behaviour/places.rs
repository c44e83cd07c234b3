//! What is pinned for a checkout holds as long as that is there, and not for ever after.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use iact_cache::{PinOwners, SweepPolicy};

use crate::sweeping::{LATER, fill, names, policy};
use crate::{Space, action, files};

#[test]
fn what_is_pinned_for_a_folder_goes_when_the_folder_has_been_missing_for_long() {
    let space = Space::new();
    let store = space.store();
    let [stays, returns, used, gone] =
        ["stays", "returns", "used", "gone"].map(|name| space.root.join("checkouts").join(name));
    let make = |place: &std::path::Path| fs::create_dir_all(place).unwrap();
    for (n, place) in [&stays, &returns, &used, &gone, &gone].into_iter().enumerate() {
        make(place);
        fill(&store, &format!("r{n}"));
        store.pin_while(&action(&format!("r{n}")), "owner", place).unwrap();
    }
    // For good, in whatever order.
    store.pin(&action("r4"), "owner").unwrap();
    store.pin_while(&action("r4"), "owner", &gone).unwrap();
    for place in [&returns, &used, &gone] {
        fs::remove_dir(place).unwrap();
    }
    let after = |days: u64| {
        let now_unix_ms = LATER + days * 86_400_000;
        store.sweep(&SweepPolicy { max_bytes: Some(0), now_unix_ms, ..policy() }).unwrap();
        names(&store).join(" ")
    };
    assert_eq!(after(0), "r0 r1 r2 r3 r4");
    assert_eq!(after(29), "r0 r1 r2 r3 r4");
    make(&returns);
    make(&used);
    store.pin_while(&action("r2"), "owner", &used).unwrap();
    fs::remove_dir(&used).unwrap();
    assert_eq!(after(31), "r0 r1 r2 r4");
    fs::remove_dir(&returns).unwrap();
    assert_eq!(after(62), "r0 r1 r4", "missing for 31 days is one of them only");
    assert_eq!(after(93), "r0 r4");
}

#[test]
fn what_an_owner_has_pinned_goes_when_its_folder_has_had_no_such_owner_for_long() {
    let space = Space::new();
    let store = space.store();
    let [place, other] = ["here", "other"].map(|name| space.root.join(name));
    for (n, (owner, place)) in
        [("stays", &place), ("gone", &place), ("returns", &place), ("pins", &place), ("gone", &other)]
            .into_iter()
            .enumerate()
    {
        fs::create_dir_all(place).unwrap();
        fill(&store, &format!("r{n}"));
        store.pin_while(&action(&format!("r{n}")), owner, place).unwrap();
    }
    fill(&store, "r5");
    store.pin(&action("r5"), "gone").unwrap();
    let tell = |days: u64, owners: &[&str]| {
        let owners = PinOwners::of(owners.iter().map(|owner| (*owner).to_owned()));
        store.tell_owners(&place, &owners, LATER + days * 86_400_000).unwrap();
    };
    let after = |days: u64| {
        let now_unix_ms = LATER + days * 86_400_000;
        store.sweep(&SweepPolicy { max_bytes: Some(0), now_unix_ms, ..policy() }).unwrap();
        names(&store).join(" ")
    };
    tell(0, &["stays"]);
    assert_eq!(after(29), "r0 r1 r2 r3 r4 r5");
    tell(29, &["stays", "returns"]);
    fill(&store, "r6");
    store.pin_while(&action("r6"), "pins", &place).unwrap();
    assert_eq!(after(31), "r0 r2 r3 r4 r5 r6", "who pins anew keeps what it had");
    tell(40, &["stays"]);
    assert_eq!(after(69), "r0 r2 r3 r4 r5 r6");
    tell(69, &["stays"]);
    assert_eq!(after(71), "r0 r4 r5", "it counts from the first time");
}

/// As by a container that has another folder where this one has its checkouts.
#[test]
fn what_is_pinned_holds_where_its_checkout_is_merely_out_of_sight() {
    let space = Space::new();
    let store = space.store();
    let mount = space.root.join("mount");
    let place = mount.join("checkout");
    fs::create_dir_all(&place).unwrap();
    fill(&store, "r0");
    store.pin_while(&action("r0"), "owner", &place).unwrap();
    let after = |days: u64| {
        let now_unix_ms = LATER + days * 86_400_000;
        store.sweep(&SweepPolicy { max_bytes: Some(0), now_unix_ms, ..policy() }).unwrap();
        names(&store)
    };
    let away = space.root.join("away");
    fs::rename(&mount, &away).unwrap();
    fs::create_dir(&mount).unwrap();
    assert_eq!((after(0), after(31)), (vec!["r0".to_owned()], vec!["r0".to_owned()]));
    // One that is there again is in these folders from now on.
    fs::create_dir(&place).unwrap();
    assert_eq!(after(40), ["r0"]);
    fs::remove_dir(&place).unwrap();
    assert_eq!(after(50), ["r0"]);
    fs::create_dir(&place).unwrap();
    store.tell_owners(&place, &PinOwners::of(["owner".to_owned()].into_iter()), LATER).unwrap();
    fs::remove_dir(&place).unwrap();
    assert_eq!(
        (after(81), after(112)),
        (vec!["r0".to_owned()], vec![]),
        "who builds there says that it is there"
    );
}

/// One that is cut would hold for good.
#[test]
fn a_pin_is_whole_at_every_moment() {
    let space = Space::new();
    let store = space.store();
    let [place, other] = ["place", "other/place"].map(|place| space.root.join(place));
    for place in [&place, &other] {
        fs::create_dir_all(place).unwrap();
    }
    fill(&store, "r0");
    let pin = |place: &Path| store.pin_while(&action("r0"), "owner", place).unwrap();
    pin(&place);
    let path = files(&space.cache.join("pins")).remove(0);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let shortest = scope.spawn(|| {
            let mut shortest = u64::MAX;
            while !ended.load(Ordering::Relaxed) {
                shortest = shortest.min(fs::metadata(&path).map_or(u64::MAX, |facts| facts.len()));
            }
            shortest
        });
        for round in 0..1_000 {
            let owners = PinOwners::of((round % 2 == 0).then(|| "owner".to_owned()).into_iter());
            store.tell_owners(&place, &owners, LATER).unwrap();
            if round % 10 == 0 {
                store.unpin(&action("r0"), "owner").unwrap();
                pin(&other);
                pin(&place);
            }
        }
        ended.store(true, Ordering::Relaxed);
        assert!(shortest.join().unwrap() > 32);
    });
}

/// As after a kill before the result was published.
#[test]
fn a_pin_whose_result_never_came_goes_in_time() {
    let space = Space::new();
    let store = space.store();
    fill(&store, "r0");
    for name in ["r0", "never"] {
        store.pin_while(&action(name), "owner", &space.root).unwrap();
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let left = |days: u64| {
        store.sweep(&SweepPolicy::unlimited(now + days * 86_400_000)).unwrap();
        files(&space.cache.join("pins")).len()
    };
    assert_eq!((left(0), left(29), left(31)), (2, 2, 1));
    assert_eq!(store.pinned_by("owner").unwrap()[0].0, action("r0"));
}
