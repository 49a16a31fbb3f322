"""Physics codes in miniature: what they print and how they exit, for each way they can end. ``codes.py CODE WORDS``.

What is to happen is the first value of block MINPAR in the card: 0 all is well, else one of the endings of the code.
"""

import sys


def first_value(text):
    """Entry 1 of MINPAR."""
    block = ""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words[:1] and words[0].upper() == "BLOCK":
            block = words[1].upper()
        elif len(words) == 2 and block == "MINPAR" and words[0] == "1":
            return int(float(words[1]))
    return 0


def info(code, *lines):
    return f"Block SPINFO         # Program information\n     1   {code}      # spectrum calculator\n" + "".join(
        f"     {line}\n" for line in lines)


MASS = "Block MASS  # Mass spectrum\n        25     1.23456789E+02  # h0\n   1000022     9.87000000E+01  # chi_10\n"


def spheno(given, written):
    """Ends with 0 whatever happens."""
    with open(given) as card:
        ending = first_value(card.read())
    if ending == 3:
        print("STOP Subroutine TerminateProgram", file=sys.stderr)
        return 0
    if ending == 4:
        return 0
    warning = ("3               # potential numerical problem, check file Messages.out",)
    text = {
        0: info("SPheno", "2   v4.0.5      # version number") + MASS,
        1: info("SPheno", *warning, "4               # internal problem, see Messages.out for infos"),
        2: info("SPheno", *warning) + MASS,
        5: info("SPheno") + "Block MODSEL\n    1    1\n",
    }[ending]
    with open(written, "w") as out:
        out.write(text)
    return 0


def softsusy(word):
    """Reads its input, prints its spectrum; 255 where there is none."""
    assert word == "leshouches"
    ending = first_value(sys.stdin.read())
    warnings = ["3    stau LSP # Warning"] if ending == 2 else []
    problems = ["4   [ stau tachyon ] # Point invalid"] if ending == 1 else []
    print(info("SOFTSUSY", *warnings, *problems) + ("" if problems else MASS), end="")
    return 255 if problems else 7 if ending == 3 else 0


def gm2calc(word):
    """Prints its input and what it found."""
    with open(word.removeprefix("--slha-input-file=")) as card:
        text = card.read()
    assert "GM2CalcConfig" in text
    if first_value(text) == 1:
        print(info("GM2Calc", "4   soft mass squared < 0"), end="")
        return 1
    print(text + "Block GM2CalcOutput\n     0    -6.65068425E-12   # Delta(g-2)_muon/2\n"
          "     1     2.30036948E-10   # uncertainty of Delta(g-2)_muon/2")
    return 0


def superiso(given):
    """Ends with 1 whatever happens."""
    print("\nSuperIso v3.4 - F. Mahmoudi\n\nSLHA input file\n")
    try:
        with open(given) as card:
            ending = first_value(card.read())
    except OSError:
        print("SLHA file absent\n")
        return 1
    if ending:
        print({1: "Invalid point\n", 2: "Invalid SLHA file\n"}[ending])
        return 1
    print("Observable\t\t\tValue\n\nBR(b->s gamma)\t\t\t3.266e-04\n\nBR(Bs->mu mu)\t\t\t3.185e-09\n"
          "BR(Bs->mu mu)_untag\t\t3.492e-09\nR(B->tau nu)\t\t\t1.000e+00\n\noutput.flha generated\n")
    return 1


def micromegas(given):
    """A main program of micrOMEGAs: ``Mdm 700`` lines in, text out."""
    with open(given) as card:
        values = dict(line.split() for line in card if line.strip())
    mass = float(values["Mdm1"])
    if mass < 0:
        print("Can't calculate ~x1")
        return 1
    print(f"\nDark matter candidate is '~x1' with spin=0/2 mass={mass:.2E}")
    if mass > 1000:
        print("Dark Matter has electric charge 3/3")
    print("\n=== MASSES OF HIGGS AND ODD PARTICLES: ===\nHiggs masses and widths\n      h   125.00 3.07E-03\n\n"
          "Xf=2.55e+01 Omega=6.14E-02 \n# Channels which contribute to 1/(omega) more than 1%.\n"
          "   49% ~x1 ~x1 ->W+ W- \n\n==== Calculation of CDM-nucleons amplitudes  =====\n"
          "proton:  SI  1.925E-09  SD  0.000E+00\nneutron: SI  1.944E-09  SD  0.000E+00\n\n"
          "~x1-nucleon cross sections[pb] ====\n proton  SI 1.615E-09  SD 2.000E-10\n neutron SI 1.648E-09  SD 3.000E-10")
    return 0


def flexiblesusy(given, written):
    """Words of the form --slha-input-file=NAME; 1 where there is no spectrum, and SPINFO says why."""
    with open(given.removeprefix("--slha-input-file=")) as card:
        ending = first_value(card.read())
    if ending == 3:
        return 1
    problems = ["4    tachyon Hd"] if ending == 1 else []
    warnings = ["3    warning"] if ending == 2 else []
    with open(written.removeprefix("--slha-output-file="), "w") as out:
        out.write(info("FlexibleSUSY", *warnings, *problems) + ("" if problems else MASS))
    return 1 if problems else 0


def susyhit():
    """Fixed names of files; ends with 0, and computes with whatever it has read."""
    with open("susyhit.in") as options, open("slhaspectrum.in") as card:
        assert "\n2\n" in options.read()
        text = card.read()
    bad = first_value(text) == 1
    width, br = ("NaN", "NaN") if bad else ("3.88394808E-03", "6.69713176E-01")
    with open("susyhit_slha.out", "w") as out:
        out.write("#\nBLOCK DCINFO  # Decay Program information\n     1   SDECAY/HDECAY # decay calculator\n" + text
                  + f"#         PDG            Width\nDECAY        25     {width}   # h decays\n"
                  f"#          BR         NDA      ID1       ID2\n     {br}    2           5        -5   # BR(h -> b bb)\n")
    return 0


def calc_phys(*words):
    """Parameters, then the file to write; m_H below 125 is refused, and 13 makes it crash."""
    *parameters, written = words
    heavy = float(parameters[1])
    print("\n  2HDMC - Two-Higgs-Doublet Model Calculator\n")
    if heavy < 125:
        print("The parameters you have specified were not valid", file=sys.stderr)
        return 255
    if heavy == 130:
        print("Usage: ./CalcPhys mh mH mA mHp sin(beta-alpha) ...")
        return 255
    print("2HDM parameters in generic basis:\n lambda_1:      1.40163\n\nConstraints:\n Tree-level unitarity: 1\n"
          f" Perturbativity:       1\n Stability:            {int(heavy < 400)}\n\nOblique parameters:\n"
          " S            -2.94264e-03\n T            -1.59398e-03\n U            -8.72618e-05\n Delta_rho    -1.62895e-04\n"
          f" Delta_amu    7.49124e-12\n\nLesHouches output written to file {written}\n")
    with open(written, "w") as out:
        out.write("Block THDM\n    1    1    #  Valid parameters (1=Yes, 0=no)\n    4    1    #  Stability\n"
                  f"Block MASS\n    35        {heavy:.8E}   # Mh2, heaviest CP-even Higgs\n"
                  "DECAY  35     4.25689866E-01   # h2 decays\n#            BR          NDA    ID1   ID2\n"
                  "       2.50149810E-01     2      25    25\n")
    return 0


def nmhdecay():
    """Fixed names of files; 0 also where there is no spectrum, 1 for a mistake in the card."""
    import os

    assert os.path.exists(os.environ["EXPCON_PATH"] + "/hZbb.dat")
    with open("inp") as card:
        ending = first_value(card.read())
    if ending == 3:
        print("ERROR IN INPUT FILE", file=sys.stderr)
        return 1
    problems = ["4   # M_H1^2<1"] if ending == 1 else []
    warnings = ["3   # Chargino excluded by LEP"] if ending == 2 else []
    with open("spectr", "w") as out:
        out.write("# NMSSMTools OUTPUT IN SLHA FORMAT\n" + info("NMSSMTools", *warnings, *problems))
        out.write("" if problems else MASS)
    if not problems:
        with open("decay", "w") as out:
            out.write("DECAY        25     3.9D-03   # Lightest neutral Higgs scalar\n     6.5D-01    2     5    -5\n")
    return 0


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](*sys.argv[2:]))
