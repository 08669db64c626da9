"""ISO 4217's minor units: how many decimals each currency has.

Source: ISO's own table of current currencies (List One), published 2026-01-01, as the package `iso4217`
1.16.20260101 carries it. That package parses the table from XML on import, which costs some 40 ms: too much
for a cold start, so the table stands here, and a unit test compares it with the package.

Codes without a minor unit (precious metals, XDR, XTS, XXX) are left out: an amount in them cannot be rounded.
"""

#: Currency codes, upper case, by their number of decimals.
CURRENT: dict[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF "
        "CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
        "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL "
        "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR "
        "PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP "
        "TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

#: Codes that ISO has withdrawn and that Lago's usage analytics still list. They have two decimals.
WITHDRAWN = "ANG BGN HRK MRO SLL STD"
