use super::*;
use crate::intent::tests::{FILE as CONFIG, intent};

fn stored() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("state")).unwrap();
    (directory, store)
}

fn changed() -> Intent {
    let mut intent = intent(CONFIG, &CONFIG.replace("weight = 100", "weight = 7"));
    let [from, to] = [0, 1].map(|index| super::super::Endpoint::from(&intent.file.services[0].backends[index]));
    intent.migrations.push(Migration {
        service: "web".to_owned(),
        from,
        to,
        flows: true,
    });
    intent
}

fn names(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(&store.directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_was_written_is_read() {
    let (_directory, store) = stored();
    assert_eq!(store.read(), None);
    store.write(&changed()).unwrap();
    assert_eq!(store.read(), Some(changed()));
    store.write(&changed()).unwrap();
    assert_eq!(names(&store), ["state.json"]);
}

#[test]
fn nothing_is_kept_of_an_intent_without_changes() {
    let (_directory, store) = stored();
    let unchanged = intent(CONFIG, CONFIG);
    store.write(&unchanged).unwrap();
    assert_eq!(names(&store), [""; 0]);
    store.write(&changed()).unwrap();
    store.write(&unchanged).unwrap();
    assert_eq!(names(&store), [""; 0]);
    assert_eq!(store.read(), None);
}

#[test]
fn a_record_cut_short_at_any_byte_is_not_taken_for_a_whole_one() {
    let whole = encode(&changed());
    assert_eq!(decode(whole.as_bytes()).unwrap(), changed());
    for length in 0..whole.len() {
        assert!(decode(&whole.as_bytes()[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn what_cannot_be_used_is_set_aside_and_forgotten() {
    let whole = encode(&changed());
    for bytes in [
        String::new(),
        "{}".to_owned(),
        "\0\0\0\0".to_owned(),
        whole[..whole.len() / 2].to_owned(),
        whole.replace("\"version\": 1", "\"version\": 2"),
        whole.replace("10.0.0.12", "10.0.0.999"),
        whole.replace("\"migrations\"", "\"others\""),
    ] {
        let (_directory, store) = stored();
        fs::write(store.directory.join(FILE), &bytes).unwrap();
        assert_eq!(store.read(), None, "{bytes}");
        let names = names(&store);
        assert!(
            names.len() == 1 && names[0].starts_with("state.json.corrupt-"),
            "{names:?}"
        );
        assert_eq!(fs::read_to_string(store.directory.join(&names[0])).unwrap(), bytes);
        store.write(&changed()).unwrap();
        assert_eq!(store.read(), Some(changed()));
    }
}

#[test]
fn a_write_that_fails_leaves_the_old_record() {
    let (_directory, store) = stored();
    store.write(&changed()).unwrap();
    fs::create_dir(store.directory.join("state.new")).unwrap();
    let mut other = changed();
    other.migrations.clear();
    assert!(store.write(&other).is_err());
    assert_eq!(store.read(), Some(changed()));
}

#[test]
fn a_directory_has_one_daemon() {
    let (directory, first) = stored();
    let path = directory.path().join("state");
    let refused = Store::open(&path).unwrap_err().to_string();
    assert!(refused.contains("give this one its own control.state"), "{refused}");
    drop(first);
    Store::open(&path).unwrap();
}
