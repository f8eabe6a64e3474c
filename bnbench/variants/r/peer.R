# The step in R, driven line by line from standard input, for problems that are known by a word of the driver's:
#   prepare WORD   read the problem from DIR/in      step WORD N   N steps; prints the seconds they took
#   compile WORD   compile the step where the form has to be; prints the seconds that took
#   result WORD    write the last gradients to DIR/out      drop WORD   forget the problem
# Everything is in double precision; R's arrays are column-major, and so is what is read and written.

arguments <- commandArgs(trailingOnly = TRUE)
form <- arguments[1]
folder <- arguments[2]

activations <- list(
  relu = list(a = function(b) pmax(b, 0), d = function(b) (b > 0) * 1),
  sigmoid = list(a = function(b) 1 / (1 + exp(-b)), d = function(b) { s <- 1 / (1 + exp(-b)); s * (1 - s) }),
  tanh = list(a = tanh, d = function(b) 1 - tanh(b)^2),
  gaussian = list(a = function(b) exp(-b^2 / 2), d = function(b) -b * exp(-b^2 / 2)),
  identity = list(a = function(b) b, d = function(b) b * 0 + 1),
  softplus = list(a = function(b) pmax(b, 0) + log1p(exp(-abs(b))), d = function(b) 1 / (1 + exp(-b))),
  `leaky-relu` = list(a = function(b) ifelse(b > 0, b, 0.01 * b), d = function(b) ifelse(b > 0, 1, 0.01))
)

# Each loss: R, r = dR/d eta, and the effect of every unit, which minimises R in its rows; alpha is in the order of the
# units' numbers, as rowsum gives it.
sums <- function(v, unit) drop(rowsum(v, unit, reorder = TRUE))
losses <- list(
  squared = list(
    value = function(y, eta) mean((y - eta)^2),
    slope = function(y, eta) -2 / length(y) * (y - eta),
    effect = function(y, eta, unit) sums(y - eta, unit) / tabulate(unit)
  ),
  logistic = list(
    value = function(y, eta) mean(pmax(eta, 0) + log1p(exp(-abs(eta))) - y * eta),
    slope = function(y, eta) (plogis(eta) - y) / length(y),
    effect = function(y, eta, unit) {
      alpha <- qlogis(sums(y, unit) / tabulate(unit)) - sums(eta, unit) / tabulate(unit)
      for (count in seq_len(60)) { # Newton in one number, its steps bounded
        p <- plogis(eta + alpha[unit])
        moved <- 2 * tanh(sums(p - y, unit) / (2 * sums(p * (1 - p), unit)))
        alpha <- alpha - moved
        if (all(abs(moved) <= 2 * .Machine$double.eps * (1 + abs(alpha)))) break
      }
      alpha
    }
  ),
  poisson = list(
    value = function(y, eta) mean(exp(eta) - y * eta),
    slope = function(y, eta) (exp(eta) - y) / length(y),
    effect = function(y, eta, unit) log(sums(y, unit) / sums(exp(eta), unit))
  )
)

clock <- if (requireNamespace("bench", quietly = TRUE)) {
  function() as.numeric(bench::hires_time())
} else {
  function() as.numeric(Sys.time())
}

matrix_step <- function(p) {
  with(p, {
    Z <- X %*% G1
    if (frozen) {
      s <- sqrt(var + eps)
      Xhat <- sweep(sweep(Z, 2, mu), 2, s, "/")
      B <- sweep(sweep(Xhat, 2, gamma, "*"), 2, beta, "+")
    } else if (normalize) {
      Zc <- sweep(Z, 2, colMeans(Z))
      s <- sqrt(colSums(Zc^2) / (N - ddof) + eps)
      Xhat <- sweep(Zc, 2, s, "/")
      B <- sweep(sweep(Xhat, 2, gamma, "*"), 2, beta, "+")
    } else {
      B <- Z
    }
    A <- a(B)
    eta <- drop(A %*% G2)
    if (q > 0) eta <- eta + drop(W %*% delta)
    alpha <- numeric(0)
    if (units > 0) {
      alpha <- loss$effect(y, eta, unit)
      eta <- eta + alpha[unit]
    }
    r <- loss$slope(y, eta)
    R <- loss$value(y, eta)
    S <- (r %o% G2) * d(B)
    dG2 <- drop(crossprod(A, r))
    ddelta <- drop(crossprod(W, r))
    if (!normalize && !frozen) {
      return(list(R, crossprod(X, S), NA, NA, dG2, ddelta, alpha))
    }
    dbeta <- colSums(S)
    dgamma <- colSums(S * Xhat)
    if (frozen) {
      dZ <- sweep(S, 2, gamma / s, "*")
    } else {
      D <- S - sweep(Xhat, 2, dgamma / (N - ddof), "*")
      dZ <- sweep(sweep(D, 2, colMeans(D)), 2, gamma / s, "*") # the mean is dbeta / N; so columns add up to 0
    }
    list(R, crossprod(X, dZ), dgamma, dbeta, dG2, ddelta, alpha)
  })
}

loop_step <- function(p) {
  with(p, {
    Z <- Xhat <- A <- D <- matrix(0, N, p2)
    s <- numeric(p2)
    for (j in seq_len(p2)) {
      z <- numeric(N)
      for (i in seq_len(N)) z[i] <- sum(X[i, ] * G1[, j])
      Z[, j] <- z
      b <- z
      if (normalize) {
        mu <- mean(z)
        s[j] <- sqrt(sum((z - mu)^2) / (N - ddof) + eps)
        Xhat[, j] <- (z - mu) / s[j]
        b <- gamma[j] * Xhat[, j] + beta[j]
      }
      A[, j] <- a(b)
      D[, j] <- d(b)
    }
    e <- numeric(N)
    for (i in seq_len(N)) e[i] <- y[i] - sum(A[i, ] * G2)
    dG1 <- matrix(0, p1, p2)
    dgamma <- dbeta <- dG2 <- numeric(p2)
    for (j in seq_len(p2)) {
      S <- -2 / N * e * G2[j] * D[, j]
      dG2[j] <- -2 / N * sum(A[, j] * e)
      dz <- S
      if (normalize) {
        dbeta[j] <- sum(S)
        dgamma[j] <- sum(S * Xhat[, j])
        dz <- gamma[j] / s[j] * (S - dbeta[j] / N - Xhat[, j] * dgamma[j] / (N - ddof))
        dz <- dz - mean(dz) # 0 but for rounding, which an offset of X would multiply
      }
      for (k in seq_len(p1)) dG1[k, j] <- sum(X[, k] * dz)
    }
    list(mean(e^2), dG1, dgamma, dbeta, dG2)
  })
}

compiled_step <- NULL
compile <- function() {
  if (form == "rcpp" && is.null(compiled_step)) {
    Rcpp::sourceCpp(arguments[3], cacheDir = folder, env = globalenv())
    compiled_step <<- step_loops
  }
}
rcpp_step <- function(p) {
  compile()
  compiled_step(p$X, p$y, p$G1, p$gamma, p$beta, p$G2, p$code, p$normalize, p$ddof, p$eps)
}

one_step <- list(matrix = matrix_step, loop = loop_step, rcpp = rcpp_step)[[form]]

read_problem <- function() {
  at <- file(file.path(folder, "in"), "rb")
  on.exit(close(at))
  sizes <- readBin(at, "double", 11)
  take <- function(n) readBin(at, "double", n)
  N <- sizes[1]
  p1 <- sizes[2]
  p2 <- sizes[3]
  q <- sizes[10]
  units <- sizes[11]
  chosen <- activations[[sizes[4] + 1]]
  list(
    N = N, p1 = p1, p2 = p2, q = q, units = units, code = as.integer(sizes[4]), ddof = sizes[6], eps = sizes[7],
    normalize = sizes[5] == 1, frozen = sizes[8] == 1, loss = losses[[sizes[9] + 1]], a = chosen$a, d = chosen$d,
    X = matrix(take(N * p1), N, p1), y = take(N), G1 = matrix(take(p1 * p2), p1, p2),
    gamma = take(p2), beta = take(p2), G2 = take(p2), mu = take(p2), var = take(p2),
    W = matrix(take(N * q), N, q), delta = take(q), unit = as.integer(take(N)) + 1L
  )
}

problems <- list()
answers <- list()
input <- file("stdin", "r")
while (length(line <- readLines(input, n = 1)) > 0) {
  words <- strsplit(line, " ", fixed = TRUE)[[1]]
  key <- words[2]
  said <- tryCatch(switch(words[1],
    prepare = {
      problems[[key]] <- read_problem()
      "ready"
    },
    compile = {
      started <- clock()
      compile()
      format(clock() - started, digits = 17)
    },
    step = {
      problem <- problems[[key]]
      started <- clock()
      for (count in seq_len(as.integer(words[3]))) answer <- one_step(problem)
      took <- clock() - started
      answers[[key]] <- answer
      format(took, digits = 17)
    },
    result = {
      at <- file(file.path(folder, "out"), "wb")
      answer <- answers[[key]]
      if (!problems[[key]]$normalize && !problems[[key]]$frozen) answer[c(3, 4)] <- NULL # there is no gamma and no beta
      for (part in answer) writeBin(as.double(part), at)
      close(at)
      "written"
    },
    drop = {
      problems[[key]] <- answers[[key]] <- NULL
      "dropped"
    }
  ), error = function(error) paste("error:", gsub("\n", " ", conditionMessage(error))))
  cat(said, "\n", sep = "")
  flush(stdout())
}
unlink(folder, recursive = TRUE) # whoever drove this has gone
