use super::*;

fn answer(block: &[u8]) -> Result<Head, Error> {
    Decoder::new().answer(block)
}

fn dns(status: u16) -> Head {
    Head {
        status,
        is_dns: true,
    }
}

/// As servers write them: status and type in every form there is.
#[test]
fn answers_are_read_in_every_form() {
    let mut plain = vec![0x88, 0x0f, 0x10, 23];
    plain.extend(MEDIA_TYPE.bytes());
    assert_eq!(answer(&plain), Ok(dns(200)));

    // A new size of 0 first, the status by an indexed name, the type by a name spelt out
    // and with a parameter, and a header that does not matter.
    let mut other = vec![0x20, 0x48, 3];
    other.extend(b"503");
    other.extend([0x10, 12]);
    other.extend(b"content-type");
    other.push(40);
    other.extend(b"Application/DNS-message ; charset=utf-16");
    other.extend([0x40, 1, b'x', 1, b'y']);
    assert_eq!(answer(&other), Ok(dns(503)));

    // The status in Huffman's code, as in the RFC's example C.6.1.
    assert_eq!(
        answer(&[0x48, 0x82, 0x64, 0x02]).map(|head| head.status),
        Ok(302)
    );
    assert_eq!(answer(&[0x8d]).map(|head| head.status), Ok(404));
    assert_eq!(answer(&[]), Ok(Head::default()));
}

#[test]
fn another_type_is_no_dns() {
    let mut html = vec![0x88, 0x5f, 9];
    html.extend(b"text/html");
    assert_eq!(answer(&html).map(|head| head.is_dns), Ok(false));
}

/// The first answer of a connection spells its headers out, later ones refer to them. As
/// dnsdist 1.7 does it, whose second answer is `88 c1 c0 bf be` and a length.
#[test]
fn later_answers_refer_to_earlier_ones() {
    let mut decoder = Decoder::new();
    let mut first = vec![0x88, 0x76, 3];
    first.extend(b"h2o");
    first.extend([0x61, 4]);
    first.extend(b"date");
    first.extend([0x5f, 23]);
    first.extend(MEDIA_TYPE.bytes());
    first.extend([0x58, 10]);
    first.extend(b"max-age=60");
    assert_eq!(decoder.answer(&first), Ok(dns(200)));
    let later = [0x88, 0xc1, 0xc0, 0xbf, 0xbe, 0x0f, 0x0d, 2, b'3', b'6'];
    assert_eq!(decoder.answer(&later), Ok(dns(200)));
    // A name of the table with another value, and a status that is put into it.
    assert!(!decoder.answer(&[0x88, 0x0f, 0x30, 1, b'x']).unwrap().is_dns);
    assert_eq!(
        decoder.answer(&[0x48, 3, b'4', b'2', b'9']).unwrap().status,
        429
    );
    assert_eq!(decoder.answer(&[0xbe, 0xc0]), Ok(dns(429)));
    assert_eq!(
        decoder.answer(&[0xc4]),
        Err(Error::Headers),
        "there are five"
    );
}

#[test]
fn the_table_is_bounded_and_can_be_emptied() {
    let mut decoder = Decoder::new();
    // 6 and 26 bytes and 32: 64 of them fill 4,096 bytes.
    let mut block = vec![0x40, 6];
    block.extend(b"x-long");
    block.push(26);
    block.extend([b'v'; 26]);
    for _ in 0..100 {
        decoder.answer(&block).unwrap();
    }
    assert_eq!((decoder.entries.len(), decoder.size), (64, 4096));
    decoder.answer(&[0x3f, 0x21]).unwrap();
    assert_eq!((decoder.entries.len(), decoder.size), (1, 64));
    decoder.answer(&[0x20]).unwrap();
    assert_eq!((decoder.entries.len(), decoder.size), (0, 0));
    decoder.answer(&block).unwrap();
    assert_eq!(decoder.entries.len(), 0);
}

#[test]
fn nonsense_is_an_error() {
    for wrong in [
        // Entry 0; the first behind the fixed table; a size; a string that is cut; a
        // number without end; a status of letters; a name that is behind the table.
        &[0x80][..],
        &[0xbe],
        &[0x3f, 0xe2, 0x1f],
        &[0x48, 3, b'2', b'0'],
        &[0x48, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x48, 2, b'o', b'k'],
        &[0x7e, 1, b'x'],
        &[0x00],
    ] {
        assert_eq!(answer(wrong), Err(Error::Headers), "{wrong:x?}");
    }
}

#[test]
fn a_request_says_what_it_has_to() {
    let mut out = Vec::new();
    request("dns.example", "/dns-query", 128, &mut out);
    let mut expected = vec![0x83, 0x87, 0x01, 11];
    expected.extend(b"dns.example");
    expected.extend([0x04, 10]);
    expected.extend(b"/dns-query");
    expected.extend([0x0f, 4, 23]);
    expected.extend(b"application/dns-message");
    expected.extend([0x0f, 16, 23]);
    expected.extend(b"application/dns-message");
    expected.extend([0x0f, 13, 3]);
    expected.extend(b"128");
    assert_eq!(out, expected);
    // A path longer than a byte's number.
    let mut out = Vec::new();
    literal(4, &"x".repeat(300), &mut out);
    assert_eq!(out[..3], [0x04, 0x7f, 0xad]);
    assert_eq!(out[3], 0x01);
}
