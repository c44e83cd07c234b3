//! The scripts for shells name every verb and flag.

use super::*;

#[test]
fn the_manual_page_tells_of_every_verb_and_flag_that_exists_and_of_no_other() {
    let page = String::from_utf8(man()).unwrap();
    for word in [".SH \"IACT BUILD\"", ".SH \"IACT CACHE GC\"", "keep\\-going", "Exit codes", "max\\-size"] {
        assert!(page.contains(word), "{word} is missing in\n{page}");
    }
    for word in ["IACT REPORT", "IACT COMPLETE\"", "affected", "IACT CACHE DOCTOR"] {
        assert!(!page.contains(word), "{word}");
    }
}
