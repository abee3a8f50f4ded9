use super::*;

/// The lines behind the first of the columns that they may have.
fn behind(text: &str) -> Vec<String> {
    let lines: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    let column = Column::candidates(&lines).next().unwrap_or_default();
    lines.iter().map(|line| String::from_utf8_lossy(column.strip(line)).into_owned()).collect()
}

#[test]
fn a_number_or_a_word_in_front_of_each_line_is_taken_from_it() {
    for [a, empty, b, c] in [
        ["   9 | ", "  10 |", "  11 | ", "  12 | "],
        ["    9\t", "   10\t", "   11\t", "   12\t"],
        ["9:", "10:", "11:", "12:"],
        ["9-", "11-", "12:", "13-"],
        ["9. ", "10.", "11. ", "12. "],
        ["vm-1  | ", "vm-1  |", "vm-1  | ", "vm-1  | "],
        ["trace.txt:", "trace.txt:", "trace.txt:", "trace.txt:"],
        ["machine # ", "machine #", "machine # ", "machine # "],
        [" * ", " *", " * ", " * "],
        ["// ", "//", "// ", "// "],
        ["+", "+", "+", "+"],
        ["", "", "", ""],
    ] {
        assert_eq!(
            behind(&format!("{a} => f\n{empty}\n{b}a-b\n{c} => g\n")),
            [" => f", "", "a-b", " => g"],
            "{a}"
        );
    }
}

#[test]
fn what_is_not_the_same_of_each_line_is_none() {
    for text in [
        "9:a\n8:b\n7:c\n",
        "0 [<0>] f\n1 [<0>] g\n2 [<0>] h\n",
        "9:a\n10:b\nc\n",
        "vm-1 | a\nvm-1 | b\nc\n",
        "[2026-11-28 09:20:11] a\n[2026-11-28 09:20:11] b\n[2026-11-28 09:20:12] c\n",
        "| a\n| b\n| c\n",
        "/proc/1/stack:a\n/proc/1/stack:b\n/proc/2/stack:c\n",
        "x: a\nx: b\n",
        "",
    ] {
        assert_eq!(behind(text), text.lines().collect::<Vec<_>>(), "{text}");
    }
}
